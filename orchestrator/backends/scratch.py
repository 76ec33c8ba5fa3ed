"""A directory for the files of a cluster on this machine, for as long as its driver lives."""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "tinytl-ray-"
_LOCK_FILE = "driver"  # locked by the driver: whoever is killed has no time to clean up


@contextmanager
def scratch_directory(parent: Path | None = None) -> Iterator[Path]:
    """Makes a directory with a short path, in which Ray can have its sockets, and removes it.

    Those that killed drivers left are removed too.

    Args:
        parent: Where it is made; None takes the system's directory for temporary files.
    """
    parent = parent or Path(tempfile.gettempdir())
    for left in parent.glob(f"{_PREFIX}*"):
        _remove_abandoned(left)
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    with (directory / _LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def _remove_abandoned(directory: Path) -> None:
    try:
        with (directory / _LOCK_FILE).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(directory, ignore_errors=True)
    except OSError:  # its driver lives, has only just made it, or is another user's
        return
