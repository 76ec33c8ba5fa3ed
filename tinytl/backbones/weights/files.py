"""Finds the files of weights: in directories, in the cache, or on the web."""

import os
from pathlib import Path

from tinytl.backbones.weights.sources import WEIGHTS, Source, weights_info
from tinytl.config import Norm
from tinytl.download import Report, fetch
from tinytl.errors import DownloadError, WeightsError
from tinytl.storage import cache_directory


def find_weights(
    weights: str,
    backbone: str,
    directory: Path | None,
    *,
    norm: Norm | None = None,
    on_progress: Report | None = None,
) -> Path:
    """Returns the path of a weights file, which is downloaded if it is nowhere.

    Args:
        weights: Name of the weights, or the path of a file with a known name.
        backbone: Name of the backbone.
        directory: Where to look first.
        norm: The norm layers to be had, where there are weights for several.
        on_progress: Of the download, see `tinytl.download.fetch`.

    Raises:
        WeightsError: If it is not to be had; the text says which file to put where.
        StorageError: If it cannot be written.
    """
    source = weights_info(weights, backbone, norm)
    if weights not in WEIGHTS:
        if Path(weights).is_file():
            return Path(weights)
        raise WeightsError(f"there is no weights file {weights}; correct the path")
    return find_file(source, directory, on_progress)


def find_file(
    source: Source, directory: Path | None = None, on_progress: Report | None = None
) -> Path:
    """Returns the path of a file, which is downloaded if it is nowhere.

    Looked for in `directory`, in the directory that `TINYTL_WEIGHTS` names, and in the cache.

    Raises:
        WeightsError: If it is not to be had; the text says which file to put where.
        StorageError: If it cannot be written.
    """
    cache = cache_directory() / "weights"
    places = _places(directory, cache)
    if found := _found(source.file, places):
        return found
    if not source.urls:
        raise WeightsError(
            f"the built-in task's source model {source.file} is not built yet: `tinytl sweep "
            "digits` builds it, or call tinytl.builtin.build_weights()"
        )
    try:
        fetch(source.urls, cache / source.file, digest=source.digest, on_progress=on_progress)
    except DownloadError as error:
        missing = [source.file, *(file for file in source.needs if not _found(file, places))]
        files = "file" if len(missing) == 1 else "files"
        raise WeightsError(
            f"put the {files} {' and '.join(missing)} into a directory and name it with --weights "
            f"or TINYTL_WEIGHTS: not in {', '.join(str(place) for place in places)}, and {error}"
        ) from None
    return cache / source.file


def _places(directory: Path | None, cache: Path) -> list[Path]:
    named = os.environ.get("TINYTL_WEIGHTS")
    return [place for place in (directory, Path(named) if named else None, cache) if place]


def _found(file: str, places: list[Path]) -> Path | None:
    """Returns where a file is; a place may be the file itself."""
    for place in places:
        if place.match(file) and place.is_file():
            return place
        if (place / file).is_file():
            return place / file
    return None
