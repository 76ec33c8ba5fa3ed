"""Images decoded once for all runs on a machine, in a file that each maps into its memory.

    <cache directory>/images/<key>/sizes            bytes, height and width of each image
                                   decoded-<side>   pixels, one image behind the other
                                   encoded          the bytes of the files likewise

The key is made of the names and the content of a dataset's files, wherever they lie. While one
process builds, others that start at the same time wait.

Whatever is kept, the images are the same: `side` pixels at most on their short side.
"""

import hashlib
import json
import math
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from tinytl.data.images import Images, Joined, Splits, Subset
from tinytl.data.pipeline.ahead import ahead
from tinytl.data.pipeline.container import Buffer, Container
from tinytl.data.pipeline.kept import DecodedImages, PackedFiles, ShrunkImages
from tinytl.data.pipeline.resize import shrink, shrunk_size
from tinytl.data.pipeline.transforms import EVALUATED_SHARE
from tinytl.data.sources.catalogue import DatasetInfo
from tinytl.data.sources.files import Files
from tinytl.data.sources.folder import FileImages, decoded_size
from tinytl.errors import DataError, StorageError
from tinytl.storage import cache_directory, locked, write_atomically

Progress = Callable[[int, int], None]

_FORMAT = 1
_DIGEST_BYTES = hashlib.sha256().digest_size
_SIDE_STEP = 32
_LARGEST_LIMIT_BYTES = 20 * 10**9
_SHARE_OF_FREE_DISK = 1 / 3


def images_directory() -> Path:
    """Returns where images are kept."""
    return cache_directory() / "images"


def clear_cache() -> int:
    """Deletes all images that are kept, and returns how many bytes that were.

    Runs that have them mapped go on with them; who builds is waited for. The locks stay.

    Raises:
        StorageError: If one cannot be deleted.
    """
    freed_bytes = 0
    for folder in [path for path in images_directory().glob("*") if path.is_dir()]:
        with locked(folder):
            try:
                size_bytes = sum(path.stat().st_size for path in folder.iterdir())
                shutil.rmtree(folder)
            except FileNotFoundError:  # another process that clears was faster
                continue
            except OSError as error:
                raise StorageError(
                    f"cannot delete {folder}: {error.strerror}; correct its permissions"
                ) from None
            freed_bytes += size_bytes
    return freed_bytes


def cache_side(largest_resolution: int, info: DatasetInfo, crop_scale: float | None) -> int:
    """Returns the short side at which images are kept.

    The smallest crop, a share s of a square image, must have as many pixels as the input that it is
    resized to: side >= resolution / sqrt(s). The image that evaluation takes the middle of, whose
    short side is resolution / 0.875, must not be larger than what is kept either. Rounded up to a
    multiple of 32, so that sweeps with nearly the same settings share the images; for the same
    reason s is the dataset's own smallest crop where a run has none that is smaller.

    Args:
        largest_resolution: The largest side of an input.
        info: The dataset.
        crop_scale: Smallest area of a run's crops; None for the dataset's own.
    """
    smallest_area = min(info.crop_scale, crop_scale or 1.0)
    side = largest_resolution / min(math.sqrt(smallest_area), EVALUATED_SHARE)
    return math.ceil(side / _SIDE_STEP) * _SIDE_STEP


def cached(
    splits: Splits,
    *,
    side: int,
    limit_bytes: int | None = None,
    on_progress: Progress = lambda done, total: None,
) -> Splits:
    """Returns the same splits with their files' images from the cache, which is built if missing.

    What is in the cache is taken. Otherwise pixels are kept where they fit into the limit, the
    bytes of the files where only these do, and nothing where neither does. All images of a dataset
    are kept, also those that the splits leave out. Images that are in memory stay as they are.

    Args:
        splits: A dataset.
        side: Longest short side of an image, see `cache_side`; larger ones are reduced.
        limit_bytes: The most that the dataset may take; None takes 20 GB or a third of the free
            disk, whichever is less.
        on_progress: Told how many steps are done, and of how many.

    Raises:
        DataError: If an image cannot be read or decoded.
        StorageError: If the cache cannot be written.
    """
    leaves = {id(leaf): leaf for leaf in _leaves(splits.train, splits.validation, splits.test)}
    if not leaves:
        return splits
    source = _Source(tuple(leaves.values()), side, on_progress)
    kept = dict(zip(leaves, source.kept(limit_bytes), strict=True))
    return replace(
        splits,
        train=_with(kept, splits.train),
        validation=None if splits.validation is None else _with(kept, splits.validation),
        test=_with(kept, splits.test),
    )


def _leaves(*sets: Images | None) -> Iterator[FileImages]:
    """Yields the sets of files that the splits are made of."""
    for images in sets:
        if isinstance(images, FileImages):
            yield images
        elif isinstance(images, Subset):
            yield from _leaves(images.images)
        elif isinstance(images, Joined):
            yield from _leaves(images.first, images.second)


def _with(kept: Mapping[int, Images], images: Images) -> Images:
    """Returns the images with their sets of files replaced."""
    if isinstance(images, Subset):
        return Subset(_with(kept, images.images), images.indices)
    if isinstance(images, Joined):
        return Joined(_with(kept, images.first), _with(kept, images.second))
    return kept.get(id(images), images)


@dataclass(frozen=True)
class _Source:
    """The files of a dataset, and what is kept of them.

    Attributes:
        leaves: Sets of files; their images are numbered through.
        side: Longest short side of an image.
        on_progress: Told how far building is.
    """

    leaves: tuple[FileImages, ...]
    side: int
    on_progress: Progress

    @cached_property
    def images(self) -> list[tuple[FileImages, int]]:
        """Each image: its set, and its index there."""
        return [(leaf, index) for leaf in self.leaves for index in range(len(leaf))]

    def kept(self, limit_bytes: int | None) -> list[Images]:
        """Returns the sets with their images from the cache, which is built if missing."""
        folder = self._folder()
        with locked(folder):
            for partial in folder.glob("*.partial"):  # of a process that was killed
                partial.unlink()
            if limit_bytes is None:
                limit_bytes = _default_limit_bytes(folder.parent)
            sizes = self._sizes(folder / "sizes")
            shapes = [shrunk_size(height, width, self.side) for _, height, width in sizes]
            decoded = Container(
                folder / f"decoded-{self.side}", [3 * height * width for height, width in shapes]
            )
            if self._is_kept(decoded, limit_bytes, lambda n: self._pixels(n, shapes[n])):
                return self._decoded(decoded, shapes)
            lengths = [length for length, _, _ in sizes]
            encoded = Container(folder / "encoded", lengths)
            if self._is_kept(encoded, limit_bytes, lambda n: self._content(n, lengths[n])):
                return self._encoded(encoded, lengths)
            return [ShrunkImages(leaf, self.side) for leaf in self.leaves]

    def _folder(self) -> Path:
        names = [entry for leaf in self.leaves for entry in _identity(leaf.files, leaf.names)]
        key = hashlib.sha256(json.dumps([_FORMAT, names]).encode()).hexdigest()[:24]
        return images_directory() / key

    def _is_kept(
        self, container: Container, limit_bytes: int, piece: Callable[[int], Buffer]
    ) -> bool:
        """Returns whether the container is there, after building it if it is small enough."""
        if not container.is_built:
            if container.size_bytes > limit_bytes:
                return False
            count = len(self.images)
            container.build(piece, lambda done: self.on_progress(count + done, 2 * count))
        return True

    def _sizes(self, path: Path) -> list[tuple[int, int, int]]:
        """Returns bytes, height and width of each image, read from the files' headers once."""
        if (kept := _kept_sizes(path)) is not None:
            return kept
        threads = os.cpu_count() or 1
        sizes: list[tuple[int, int, int]] = []
        with closing(ahead(_size, self.images, threads=threads, depth=16 * threads)) as found:
            for size in found:
                sizes.append(size)
                self.on_progress(len(sizes), 2 * len(self.images))
        content = np.array(sizes, np.int64).tobytes()
        write_atomically(path, hashlib.sha256(content).digest() + content)
        return sizes

    def _pixels(self, number: int, shape: tuple[int, int]) -> memoryview:
        leaf, index = self.images[number]
        image = shrink(leaf.image(index), self.side)
        if image.shape[1:] != shape:
            raise _changed(leaf, index)
        return image.permute(1, 2, 0).contiguous().numpy().data

    def _content(self, number: int, size_bytes: int) -> bytes:
        leaf, index = self.images[number]
        content = leaf.files.read(leaf.names[index])
        if len(content) != size_bytes:
            raise _changed(leaf, index)
        return content

    def _decoded(self, container: Container, shapes: list[tuple[int, int]]) -> list[Images]:
        pixels = container.map()
        return [
            DecodedImages(pixels, container.offsets[part], shapes[part], leaf.labels)
            for leaf, part in self._parts()
        ]

    def _encoded(self, container: Container, lengths: list[int]) -> list[Images]:
        content = container.map()
        packed = (
            PackedFiles(leaf, content, container.offsets[part], lengths[part])
            for leaf, part in self._parts()
        )
        return [
            ShrunkImages(replace(leaf, files=files), self.side)
            for leaf, files in zip(self.leaves, packed, strict=True)
        ]

    def _parts(self) -> Iterator[tuple[FileImages, slice]]:
        """Yields each set with the numbers of its images."""
        first = 0
        for leaf in self.leaves:
            yield leaf, slice(first, first + len(leaf))
            first += len(leaf)


def _identity(files: Files, names: tuple[str, ...]) -> list[tuple[str, int, int]]:
    """Returns of each file its name, its size, and what changes with its content."""
    try:
        if files.location.is_dir():
            states = ((name, (files.location / name).stat()) for name in names)
            return [(name, state.st_size, state.st_mtime_ns) for name, state in states]
        with zipfile.ZipFile(files.location) as archive:
            members = (archive.getinfo(name) for name in names)
            return [(member.filename, member.file_size, member.CRC) for member in members]
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise DataError(
            f"{files.location} cannot be read any more: {error}; bring its files back"
        ) from None


def _kept_sizes(path: Path) -> list[tuple[int, int, int]] | None:
    """Returns what a file of sizes holds behind its digest, None where it is missing or damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, content = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        return None
    rows = np.frombuffer(content, np.int64).reshape(-1, 3).tolist()
    return [(length, height, width) for length, height, width in rows]


def _size(image: tuple[FileImages, int]) -> tuple[int, int, int]:
    """Returns bytes, height and width of an image file."""
    leaf, index = image
    return leaf.understood(index, lambda content: (len(content), *decoded_size(content)))


def _changed(leaf: FileImages, index: int) -> DataError:
    return DataError(
        f"the image {leaf.names[index]} in {leaf.files.location} is not what its header says, or "
        "was changed just now; replace the file with a whole image, or remove it"
    )


def _default_limit_bytes(folder: Path) -> int:
    free = shutil.disk_usage(folder).free
    return min(_LARGEST_LIMIT_BYTES, int(free * _SHARE_OF_FREE_DISK))
