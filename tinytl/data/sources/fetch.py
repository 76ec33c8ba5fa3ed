"""Brings a dataset's official archives to where they are looked for."""

from collections.abc import Callable, Iterator
from pathlib import Path

from tinytl.data.sources.catalogue import Archive, DatasetInfo
from tinytl.data.sources.unpack import Progress, unpack
from tinytl.download import fetch, verify
from tinytl.errors import DataError, DownloadError

_SUFFIXES = (".mat", ".tar", ".tar.gz", ".tgz", ".txt", ".zip")


def fetch_dataset(
    info: DatasetInfo, root: Path, on_progress: Callable[[str], Progress]
) -> Iterator[str]:
    """Downloads and unpacks a dataset to `<root>/<name>/`, archive by archive.

    An archive that lies there already is not downloaded, and one that is unpacked not even needed.

    Args:
        info: The dataset.
        root: The folder of datasets; created if missing.
        on_progress: Given what begins, returns what is told of its progress.

    Yields:
        What was done, a sentence for each archive.

    Raises:
        DataError: If an archive must be brought by hand, or is damaged.
        DownloadError: If one cannot be downloaded, or has not the digest it must have.
        StorageError: If a file cannot be written.
    """
    place = root / info.name
    missing = [archive for archive in info.archives if not is_unpacked(archive, place)]
    by_hand = [a for a in missing if a.url is None and not (place / a.file).is_file()]
    if by_hand:
        raise DataError(_by_hand(info, by_hand, place))
    for archive in info.archives:
        if archive in missing:
            _bring(archive, place, on_progress)
            yield f"{place / (archive.folder or archive.file)} is there"
        else:
            yield f"{place / str(archive.folder)} was there"


def is_unpacked(archive: Archive, place: Path) -> bool:
    """Returns whether the folder of an archive is in `place`; False for what has no folder."""
    return archive.folder is not None and (place / archive.folder).is_dir()


def verify_archive(archive: Archive, place: Path) -> None:
    """Checks the content of an archive that lies in `place`.

    Raises:
        DownloadError: If it is another file, or a damaged one.
    """
    path = place / archive.file
    try:
        verify(path, archive.digest)
    except DownloadError as error:
        raise DownloadError(
            f"{path} is not the file it must be: {error}; remove it and get another copy"
        ) from None


def _bring(archive: Archive, place: Path, on_progress: Callable[[str], Progress]) -> None:
    path = place / archive.file
    if path.is_file():
        verify_archive(archive, place)
    elif archive.url is not None:
        told = on_progress(f"downloading {archive.file}")
        try:
            fetch([archive.url], path, digest=archive.digest, on_progress=told)
        except DownloadError as error:
            raise DownloadError(
                f"place {archive.file} in {place}/ by hand, or try again later: {error}"
            ) from None
    if archive.folder is not None:
        unpack(path, archive.folder, on_progress(f"unpacking {archive.file}"))


def _by_hand(info: DatasetInfo, archives: list[Archive], place: Path) -> str:
    """Returns the sentence that says which archives to place where."""
    expected = {archive.file for archive in info.archives}
    found = sorted(path.name for path in place.iterdir()) if place.is_dir() else []
    others = [name for name in found if name.endswith(_SUFFIXES) and name not in expected]
    names = ", ".join(archive.file for archive in archives)
    sentence = (
        f"{info.name} cannot be downloaded from here: get {names} by way of {info.page} and place "
        f"this, or the folders it unpacks to, in {place}/ under the same names"
    )
    if others:
        sentence += f"; found there under other names: {', '.join(others)}"
    return sentence
