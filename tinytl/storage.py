"""Files that are either as they were or as they shall be, whatever happens in between."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from tinytl.errors import StorageError


def cache_directory() -> Path:
    """Returns where built and fetched files are kept: `TINYTL_CACHE`, or ~/.cache/tinytl."""
    return Path(os.environ.get("TINYTL_CACHE") or Path.home() / ".cache" / "tinytl")


@lru_cache(maxsize=1)
def library_digest() -> str:
    """Returns what changes with the library's source, on which a training step's memory depends."""
    folder = Path(__file__).parent
    files = sorted(file for file in folder.rglob("*.*") if file.suffix in (".py", ".cpp", ".h"))
    contents = ((str(file.relative_to(folder)), file.read_bytes()) for file in files)
    return hashlib.sha256(repr(list(contents)).encode()).hexdigest()


def write_atomically(path: Path, content: bytes | str) -> None:
    """Writes a file, and the folders above it, so that a reader sees the old one or the new.

    Raises:
        StorageError: If it cannot be written, for example because the disk is full.
    """
    data = content.encode() if isinstance(content, str) else content
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):  # the first error says more than one about cleaning up
            partial.unlink(missing_ok=True)
        raise not_written(path, error) from None


def not_written(path: Path, error: OSError) -> StorageError:
    """Returns the error that says why a file could not be written, and what to do."""
    return StorageError(
        f"cannot write {path}: {error.strerror}; free some space or correct the permissions, then "
        "go on where it stopped (a sweep with --resume)"
    )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock beside `path`, whose directory is created if missing; others wait for it.

    Raises:
        StorageError: If the directory cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(path.name + ".lock").open("w")
    except OSError as error:
        raise StorageError(
            f"cannot write to {path.parent}: {error.strerror}; correct its permissions, or name "
            "another directory (TINYTL_CACHE for built and fetched files)"
        ) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
