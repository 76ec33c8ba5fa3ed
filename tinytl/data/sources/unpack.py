"""Archives, unpacked whole or not at all, and nowhere but where they should be."""

import errno
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from tinytl.errors import DataError
from tinytl.storage import locked, not_written

Progress = Callable[[int, int | None], None]
"""Is told how many bytes of how many are done; None where that is not known."""

# A RuntimeError is an encrypted member.
_DAMAGE = (EOFError, RuntimeError, tarfile.TarError, zipfile.BadZipFile, zlib.error)
# What a disk or its permissions may refuse. Any other OSError is what an archive asks for that is
# none: a place before its beginning, a name too long; gzip's even have no number.
_NOT_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


def unpack(archive: Path, folder: str, on_progress: Progress | None = None) -> None:
    """Unpacks an archive, so that its `folder` lies beside it; what else is in it is left out.

    Members go to a hidden folder, out of which the whole one is moved at the end. What a killed
    process left there is removed. Of several processes that start at once, the first unpacks.

    Raises:
        DataError: If it cannot be read, is no whole tar or zip archive, a member would lie outside
            of it, or it does not hold the folder.
        StorageError: If a file cannot be written.
    """
    with locked(archive):
        if not archive.with_name(folder).is_dir():
            _check_readable(archive)
            _unpack(archive, folder, on_progress)


def _unpack(archive: Path, folder: str, on_progress: Progress | None) -> None:
    partial = archive.with_name(f".{archive.name}.partial")
    target = archive.with_name(folder)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        extract = _extract_zip if archive.suffix == ".zip" else _extract_tar
        for done_bytes in extract(archive, partial):
            if on_progress is not None:
                on_progress(done_bytes, archive.stat().st_size)
        _move(archive, partial, folder, target)
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno in _NOT_WRITTEN:
            raise not_written(target, error) from None
        text = (isinstance(error, OSError) and error.strerror) or str(error)
        reason = text.partition("\n")[0].rstrip(":") or "it is damaged"
        raise DataError(
            f"cannot unpack {archive}: {reason}; remove it and get another copy"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_readable(archive: Path) -> None:
    try:
        archive.open("rb").close()
    except OSError as error:
        raise DataError(
            f"cannot read {archive}: {error.strerror}; correct its permissions, or replace it"
        ) from None


def _move(archive: Path, partial: Path, folder: str, target: Path) -> None:
    if not (partial / folder).is_dir():
        found = ", ".join(sorted(path.name for path in partial.iterdir())[:5]) or "nothing"
        raise DataError(
            f"{archive} must hold {folder}/, but holds {found}; it is another archive under this "
            "name: remove it and get the right one"
        )
    (partial / folder).rename(target)


def _extract_tar(archive: Path, place: Path) -> Iterator[int]:
    """Extracts files and folders, and yields how much of the archive was read.

    tarfile's own filter does the same, but is not in every Python 3.11 (Debian 12 has 3.11.2).
    """
    with archive.open("rb") as file, tarfile.open(fileobj=file) as tar:
        for member in tar:
            path = _inside(place, member.name.lstrip("/"))
            if member.isdir():
                path.mkdir(parents=True, exist_ok=True)
            elif content := tar.extractfile(member) if member.isfile() else None:
                path.parent.mkdir(parents=True, exist_ok=True)
                with content, path.open("wb") as copy:
                    shutil.copyfileobj(content, copy)
            else:
                raise tarfile.TarError(f"{member.name!r} is a link or a device, no file or folder")
            yield file.tell()


def _extract_zip(archive: Path, place: Path) -> Iterator[int]:
    """Extracts members, and yields how much of the archive was read."""
    done_bytes = 0
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            _inside(place, member.filename.replace("\\", "/"))
            file.extract(member, place)
            done_bytes += member.compress_size
            yield done_bytes


def _inside(place: Path, name: str) -> Path:
    """Returns where a member goes.

    Raises:
        tarfile.TarError: If that is outside of the place.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise tarfile.TarError(f"{name!r} would lie outside of it")
    return place / path
