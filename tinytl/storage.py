"""Files that are either as they were or as they shall be, whatever happens in between."""

import os
from contextlib import suppress
from pathlib import Path

from tinytl.errors import StorageError


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
