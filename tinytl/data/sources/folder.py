"""Class folders: a folder for each class, with the images of the class in it.

    train/<class>/<image>  val/<class>/<image>  test/<class>/<image>      or      <class>/<image>

- One folder that wraps all this is skipped, as archives often have one.
- `val/` without `test/` is the test set. Where neither is there, 0.2 of the images of each class
  are held out as the test set: always the same, whatever the dataset is called.
- The test set has the classes of `train/`; the validation split may lack some of them.
- Files that are no images, and images outside of class folders, are not read.
"""

import io
import struct
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from tinytl.data.images import Images, Parts, Subset
from tinytl.data.sources.files import Files
from tinytl.data.split import hold_out
from tinytl.errors import DataError

TEST_SHARE = 0.2
SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
_SPLITS = ("train", "val", "test")
# What Pillow's readers raise on damaged files of one format or another.
_DAMAGE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    struct.error,
    Image.DecompressionBombError,
)

_SIDEWAYS = (5, 6, 7, 8)  # orientations of a camera that change height and width

Result = TypeVar("Result")
ClassFolders = Mapping[str, list[str]]
"""For each class, sorted, the names of its images."""


@dataclass(frozen=True)
class FileImages:
    """Images in files, decoded when they are asked for.

    Attributes:
        files: Where they lie.
        names: The N files.
        labels: int64 [N].
    """

    files: Files
    names: tuple[str, ...]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int) -> Tensor:
        """Returns one image, uint8 [3, H, W].

        Raises:
            DataError: If the file cannot be read or is not a whole image.
        """
        return self.understood(index, decode)

    def understood(self, index: int, understand: Callable[[bytes], Result]) -> Result:
        """Returns what is understood of the content of a file.

        Raises:
            DataError: If the file cannot be read, or `understand` raises a ValueError.
        """
        name = self.names[index]
        content = self.files.read(name)
        try:
            return understand(content)
        except ValueError as error:
            raise DataError(
                f"cannot decode the image {name} in {self.files.location}: {error}; replace the "
                "file with a whole image, or remove it"
            ) from None


def decode(content: bytes) -> Tensor:
    """Decodes an image file to RGB, uint8 [3, H, W], upright where it says how it was held.

    The channels of a pixel lie side by side in memory, which is how resizing is fastest.

    Raises:
        ValueError: If it is not a whole image of a known format.
    """
    with _opened(content) as image:
        ImageOps.exif_transpose(image, in_place=True)
        pixels = np.array(image.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)


def decoded_size(content: bytes) -> tuple[int, int]:
    """Returns height and width of what `decode` returns, without decoding.

    Raises:
        ValueError: If it is not an image of a known format.
    """
    with _opened(content) as image:
        width, height = image.size
        # of a TIFF, Pillow gives the size of the upright image
        if image.format != "TIFF" and image.getexif().get(ExifTags.Base.Orientation) in _SIDEWAYS:
            return width, height
        return height, width


@contextmanager
def _opened(content: bytes) -> Iterator[Image.Image]:
    """Opens an image file; what Pillow raises on a damaged one becomes a ValueError."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            yield image
    except Image.UnidentifiedImageError:
        raise ValueError("it is no image of a known format") from None
    except _DAMAGE as error:
        raise ValueError(str(error)) from None


def is_image(name: str) -> bool:
    """Returns whether a file is an image, by its suffix."""
    return name[name.rfind(".") :].lower() in SUFFIXES


def read_class_folders(files: Files) -> Parts:
    """Finds the classes and splits among the files; no image is decoded.

    Raises:
        DataError: If there are no classes, a class is empty, or the splits' classes differ.
    """
    images = [name for name in files.names if is_image(name)]
    base = _wrapping_folder(images)
    splits = {split: _classes(files, images, f"{base}{split}/") for split in _SPLITS}
    if any(splits["train"].values()):
        splits = {split: folders for split, folders in splits.items() if folders}
    else:
        splits = {"train": _classes(files, images, base)}
    _check(files, splits)
    classes = tuple(splits["train"])
    parts: dict[str, Images] = {
        split: _labelled(files, folders, classes) for split, folders in splits.items()
    }
    train, validation, test = parts["train"], parts.get("val"), parts.get("test")
    if test is not None:
        return Parts(classes, train, validation, test)
    if validation is not None:
        return Parts(classes, train, None, validation)
    kept, held = hold_out(train.labels, TEST_SHARE, "test")
    if len(held) == 0:
        raise DataError(
            f"{files.location} has no test/, and no class with two images of which one could be "
            "held out for it; add images, or a test/ folder"
        )
    return Parts(classes, Subset(train, kept), None, Subset(train, held))


def _wrapping_folder(images: Iterable[str]) -> str:
    """Returns the one folder that holds all folders of images, with a slash, or nothing."""
    paths = [name.split("/") for name in images]
    tops = {path[0] for path in paths if len(path) > 1}
    wraps = len(tops) == 1 and any(len(path) > 2 for path in paths)
    top = tops.pop() if wraps else ""
    return f"{top}/" if top and top not in _SPLITS else ""


def _classes(files: Files, images: Iterable[str], base: str) -> ClassFolders:
    """Returns the folders right below `base`, each with the images right in it."""
    within = defaultdict(list)
    for name in images:
        within[name.rpartition("/")[0]].append(name)
    below = sorted(
        folder for folder in files.folders if folder.rpartition("/")[0] == base.rstrip("/")
    )
    return {folder.rpartition("/")[2]: within[folder] for folder in below}


def _labelled(files: Files, folders: ClassFolders, classes: Sequence[str]) -> FileImages:
    """Returns the images class by class; a validation split may lack some of the classes."""
    images = [folders.get(name, []) for name in classes]
    sizes = torch.tensor([len(names) for names in images])
    labels = torch.arange(len(classes)).repeat_interleave(sizes)
    return FileImages(files, tuple(name for names in images for name in names), labels)


def _check(files: Files, splits: Mapping[str, ClassFolders]) -> None:
    """Raises one error with everything that is wrong with the classes."""
    classes = set(splits["train"])
    if not any(splits["train"].values()):
        raise DataError(
            f"{files.location} holds no class folders with images; it must hold <class>/<image> or "
            "train/<class>/<image>, with one folder for each class"
        )
    test = "test" if "test" in splits else "val"
    problems = []
    if len(classes) == 1:
        problems.append(
            f"{files.location} holds one class only ({min(classes)}); at least two classes are "
            "needed, each a folder of images"
        )
    for split, folders in splits.items():
        empty = [name for name, images in folders.items() if not images]
        where = f"{split}/ in {files.location}" if len(splits) > 1 else f"{files.location}"
        if empty:
            problems.append(
                f"{where}: no images right in the class {_listed(empty)}; add images or remove the "
                "folder"
            )
        if split == test and (missing := classes - set(folders)):
            problems.append(
                f"{where} lacks the class {_listed(missing)} of train/; what is tested must have "
                "the same classes as train/"
            )
        if unknown := set(folders) - classes:
            problems.append(
                f"{where} has the class {_listed(unknown)}, which train/ lacks; remove it, "
                "or add images of it to train/"
            )
    if problems:
        raise DataError("\n".join(problems))


def _listed(names: Collection[str]) -> str:
    first = sorted(names)[:5]
    more = f" and {len(names) - len(first)} more" if len(names) > len(first) else ""
    return ", ".join(first) + more
