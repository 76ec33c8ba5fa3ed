"""Tells a dataset's content from another's, wherever it lies and however it is split."""

import hashlib
import json
import zipfile
from collections.abc import Iterator

from tinytl.data.images import ArrayImages, Images, Joined, Splits, Subset
from tinytl.data.sources.files import Files
from tinytl.data.sources.folder import FileImages
from tinytl.errors import DataError


def dataset_digest(splits: Splits) -> str:
    """Returns what changes with the classes, the labels and the images of a dataset, as sha256.

    Images in memory count with their pixels. Of images in files, which may be many gigabytes, names
    and sizes count: a file whose content was replaced by as many other bytes goes unnoticed. What
    is held out of the same images, and whether they lie in a folder or a zip, changes nothing.

    Raises:
        DataError: If files cannot be listed any more.
    """
    digest = hashlib.sha256(json.dumps(splits.classes).encode())
    sets = {id(leaf): leaf for images in _sets(splits) for leaf in _leaves(images)}
    for leaf in sets.values():
        digest.update(leaf.labels.numpy().tobytes())
        if isinstance(leaf, ArrayImages):
            digest.update(leaf.pixels.contiguous().numpy().data)
        elif isinstance(leaf, FileImages):
            digest.update(json.dumps(_sizes(leaf.files, leaf.names)).encode())
    return digest.hexdigest()


def _sets(splits: Splits) -> Iterator[Images]:
    yield splits.train
    if splits.validation is not None:
        yield splits.validation
    yield splits.test


def _leaves(images: Images) -> Iterator[Images]:
    """Yields the sets that images were drawn from and joined of."""
    if isinstance(images, Subset):
        yield from _leaves(images.images)
    elif isinstance(images, Joined):
        yield from _leaves(images.first)
        yield from _leaves(images.second)
    else:
        yield images


def _sizes(files: Files, names: tuple[str, ...]) -> list[tuple[str, int]]:
    try:
        if files.location.is_dir():
            return [(name, (files.location / name).stat().st_size) for name in names]
        with zipfile.ZipFile(files.location) as archive:
            return [(name, archive.getinfo(name).file_size) for name in names]
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise DataError(
            f"{files.location} cannot be read any more: {error}; bring its files back"
        ) from None
