"""The paper's datasets of files, as their makers published them.

Each reader takes the tree that the official archives unpack to, wherever it is wrapped, in a folder
or a zip. It is told from class folders, which are read too, by the files that list its images.
"""

import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tinytl.data.files import Files
from tinytl.data.folder import FileImages, read_class_folders
from tinytl.data.images import Parts
from tinytl.errors import DataError

Reader = Callable[[Files], Parts]


class Tree:
    """The files of a release, by their path in it.

    Attributes:
        files: Where they lie.
        base: What wraps the release there, with a slash, or nothing.
    """

    def __init__(self, files: Files, base: str) -> None:
        self.files = files
        self.base = base
        self._names = frozenset(files.names)

    def lines(self, path: str) -> list[str]:
        """Returns the lines of a text file that are not empty.

        Raises:
            DataError: If it cannot be read or has none.
        """
        text = self.files.read(self.base + path).decode(errors="replace")
        lines = [stripped for line in text.splitlines() if (stripped := line.strip())]
        if not lines:
            raise self.damaged(path, "it is empty")
        return lines

    def rows(self, path: str, columns: int) -> list[list[str]]:
        """Returns the lines of a text file in columns; the last may have blanks in it.

        Raises:
            DataError: If it cannot be read, or a line has fewer columns.
        """
        rows = [line.split(maxsplit=columns - 1) for line in self.lines(path)]
        for row in rows:
            if len(row) < columns:
                raise self.damaged(path, f"a line must have {columns} columns, but is {row!r}")
        return rows

    def numbers(self, path: str, texts: Iterable[str]) -> list[int]:
        """Returns whole numbers that were read from a file.

        Raises:
            DataError: If one of them is none.
        """
        try:
            return [int(text) for text in texts]
        except ValueError as error:
            raise self.damaged(path, str(error)) from None

    def matlab(self, path: str, key: str) -> np.ndarray:
        """Returns one array [N] of a MATLAB file.

        Raises:
            DataError: If the file is damaged or has no such array.
        """
        from scipy.io import loadmat  # slow to import, and only needed here

        content = self.files.read(self.base + path)
        try:
            values: dict[str, Any] = loadmat(io.BytesIO(content), squeeze_me=True)
        except Exception as error:  # whatever its parts raise on a damaged file
            raise self.damaged(path, str(error) or type(error).__name__) from None
        if key not in values:
            raise self.damaged(path, f"it has no {key!r}")
        return np.atleast_1d(values[key])

    def images(self, listing: str, names: Sequence[str], labels: Tensor) -> FileImages:
        """Returns the images with these paths.

        Args:
            listing: The file that lists them, for the text of an error.
            names: N paths.
            labels: int64 [N], or uint8 [N, K].

        Raises:
            DataError: If there are none, or some are missing.
        """
        if not names:
            raise self.damaged(listing, "it lists no images")
        missing = [name for name in names if self.base + name not in self._names]
        if missing:
            raise DataError(
                f"{self.files.location} lacks {len(missing):,} of the {len(names):,} images that "
                f"{listing} lists, the first of them {self.base}{missing[0]}; unpack the archive "
                "with the images anew"
            )
        return FileImages(self.files, tuple(self.base + name for name in names), labels)

    def labels(self, listing: str, numbers: Sequence[int] | np.ndarray, classes: int) -> Tensor:
        """Turns class numbers that count from 1 into labels, int64 [N].

        Raises:
            DataError: If there is no such class.
        """
        labels = torch.as_tensor(np.asarray(numbers, dtype=np.int64)) - 1
        for label in labels[(labels < 0) | (labels >= classes)].tolist():
            raise self.damaged(listing, f"it has the label {label + 1}, but there are {classes}")
        return labels

    def damaged(self, path: str, why: str) -> DataError:
        """Returns the error for a file that is not what it must be."""
        return DataError(
            f"{self.base}{path} in {self.files.location} is damaged: {why}; unpack its archive anew"
        )


def layout(
    *listings: str, otherwise: Reader = read_class_folders
) -> Callable[[Callable[[Tree], Parts]], Reader]:
    """Makes a reader of a release out of one of its tree.

    Args:
        listings: The files that list its images. Where none of them is found, it is no release.
        otherwise: Reads what is no release.
    """

    def decorate(read: Callable[[Tree], Parts]) -> Reader:
        def read_either(files: Files) -> Parts:
            found = [
                name.removesuffix(listing)
                for name in files.names
                for listing in listings
                if f"/{name}".endswith(f"/{listing}")
            ]
            if not found:
                return otherwise(files)
            base = min(found, key=lambda base: (len(base), base))
            if missing := [name for name in listings if base + name not in files.names]:
                raise DataError(
                    f"{files.location} lacks {', '.join(base + name for name in missing)} of the "
                    "official release; unpack all of its archives there"
                )
            return read(Tree(files, base))

        return read_either

    return decorate


@layout("imagelabels.mat", "setid.mat")
def read_flowers102(tree: Tree) -> Parts:
    """Reads Oxford Flowers 102; its training and validation split are one training set."""
    from torchvision.datasets import Flowers102  # the release has no names of the classes

    classes = tuple(Flowers102.classes)
    numbers = tree.matlab("imagelabels.mat", "labels")

    def split(*keys: str) -> FileImages:
        ids = np.concatenate([tree.matlab("setid.mat", key) for key in keys]).astype(np.int64)
        for wrong in ids[(ids < 1) | (ids > len(numbers))]:
            raise tree.damaged("setid.mat", f"image {wrong} has no label in imagelabels.mat")
        names = [f"jpg/image_{number:05d}.jpg" for number in ids]
        labels = tree.labels("imagelabels.mat", numbers[ids - 1], len(classes))
        return tree.images("setid.mat", names, labels)

    return Parts(classes, split("trnid", "valid"), None, split("tstid"))


@layout("data/variants.txt", "data/images_variant_trainval.txt", "data/images_variant_test.txt")
def read_aircraft(tree: Tree) -> Parts:
    """Reads FGVC-Aircraft, whose classes are its variants."""
    classes = tuple(tree.lines("data/variants.txt"))
    number_of = {name: number for number, name in enumerate(classes, 1)}

    def split(part: str) -> FileImages:
        listing = f"data/images_variant_{part}.txt"
        rows = tree.rows(listing, 2)
        for _, variant in rows:
            if variant not in number_of:
                raise tree.damaged(listing, f"{variant!r} is no variant of data/variants.txt")
        labels = tree.labels(listing, [number_of[variant] for _, variant in rows], len(classes))
        return tree.images(listing, [f"data/images/{image}.jpg" for image, _ in rows], labels)

    return Parts(classes, split("trainval"), None, split("test"))


@layout("devkit/cars_meta.mat", "devkit/cars_train_annos.mat", "cars_test_annos_withlabels.mat")
def read_cars(tree: Tree) -> Parts:
    """Reads Stanford Cars; copies of it have folders such as cars_train/cars_train/."""
    classes = tuple(str(name) for name in tree.matlab("devkit/cars_meta.mat", "class_names"))

    def split(folder: str, listing: str) -> FileImages:
        rows = tree.matlab(listing, "annotations")
        if not {"fname", "class"} <= set(rows.dtype.names or ()):
            raise tree.damaged(listing, "it has no file names with classes")
        nested = f"{folder}/{folder}"
        place = nested if tree.base + nested in tree.files.folders else folder
        labels = tree.labels(listing, rows["class"].tolist(), len(classes))
        return tree.images(listing, [f"{place}/{name}" for name in rows["fname"]], labels)

    train = split("cars_train", "devkit/cars_train_annos.mat")
    return Parts(classes, train, None, split("cars_test", "cars_test_annos_withlabels.mat"))


@layout("classes.txt", "images.txt", "image_class_labels.txt", "train_test_split.txt")
def read_cub200(tree: Tree) -> Parts:
    """Reads Caltech-UCSD Birds 200-2011."""
    classes = tuple(name for _, name in tree.rows("classes.txt", 2))
    images = tree.rows("images.txt", 2)

    def column(listing: str) -> np.ndarray:
        """Returns the number that the listing gives each of the images."""
        values = dict(tree.rows(listing, 2))
        for image, name in images:
            if image not in values:
                raise tree.damaged(listing, f"it says nothing of image {image}, {name}")
        return np.array(tree.numbers(listing, (values[image] for image, _ in images)))

    numbers, training = column("image_class_labels.txt"), column("train_test_split.txt")

    def split(chosen: np.ndarray) -> FileImages:
        names = [f"images/{images[index][1]}" for index in chosen]
        labels = tree.labels("image_class_labels.txt", numbers[chosen], len(classes))
        return tree.images("images.txt", names, labels)

    train, test = (np.flatnonzero(training == value) for value in (1, 0))
    return Parts(classes, split(train), None, split(test))


@layout("meta/classes.txt", "meta/train.txt", "meta/test.txt")
def read_food101(tree: Tree) -> Parts:
    """Reads Food-101."""
    classes = tuple(sorted(tree.lines("meta/classes.txt")))
    number_of = {name: number for number, name in enumerate(classes, 1)}

    def split(part: str) -> FileImages:
        listing = f"meta/{part}.txt"
        images = tree.lines(listing)
        names = [image.partition("/")[0] for image in images]
        for name in names:
            if name not in number_of:
                raise tree.damaged(listing, f"{name!r} is no class of meta/classes.txt")
        labels = tree.labels(listing, [number_of[name] for name in names], len(classes))
        return tree.images(listing, [f"images/{image}.jpg" for image in images], labels)

    return Parts(classes, split("train"), None, split("test"))


@layout("annotations/trainval.txt", "annotations/test.txt")
def read_pets(tree: Tree) -> Parts:
    """Reads the Oxford-IIIT Pet dataset; a class is named by its images, as `Abyssinian_100`."""

    def read(part: str) -> tuple[str, list[str], list[int]]:
        listing = f"annotations/{part}.txt"
        rows = tree.rows(listing, 2)
        numbers = tree.numbers(listing, (row[1].split()[0] for row in rows))
        return listing, [image for image, _ in rows], numbers

    train, test = read("trainval"), read("test")
    listing, images, numbers = train
    name_of = dict(zip(numbers, (image.rpartition("_")[0] for image in images), strict=True))
    if sorted(name_of) != list(range(1, len(name_of) + 1)):
        raise tree.damaged(listing, f"classes must count from 1 on, but are {sorted(name_of)}")
    classes = tuple(name_of[number] for number in sorted(name_of))

    def split(listing: str, images: list[str], numbers: list[int]) -> FileImages:
        labels = tree.labels(listing, numbers, len(classes))
        return tree.images(listing, [f"images/{image}.jpg" for image in images], labels)

    return Parts(classes, split(*train), None, split(*test))


def _no_celeba(files: Files) -> Parts:
    raise DataError(
        f"{files.location} holds no list_attr_celeba.txt and no list_eval_partition.txt; an image "
        "of celeba has 40 attributes, which class folders cannot tell: bring the official files"
    )


@layout("list_attr_celeba.txt", "list_eval_partition.txt", otherwise=_no_celeba)
def read_celeba(tree: Tree) -> Parts:
    """Reads CelebA, aligned and cropped: multi-label, uint8 [N, 40], with its own validation."""
    classes, names, attributes = _attributes(tree, "list_attr_celeba.txt")
    partition = dict(tree.rows("list_eval_partition.txt", 2))
    for name in names:
        if partition.get(name) not in {"0", "1", "2"}:
            raise tree.damaged("list_eval_partition.txt", f"{name} must be in part 0, 1 or 2")
    part = np.array([int(partition[name]) for name in names])

    def split(number: int) -> FileImages:
        chosen = np.flatnonzero(part == number)
        images = [f"img_align_celeba/{names[index]}" for index in chosen]
        return tree.images("list_eval_partition.txt", images, attributes[chosen])

    return Parts(classes, split(0), split(1), split(2))


def _attributes(tree: Tree, listing: str) -> tuple[tuple[str, ...], list[str], Tensor]:
    """Returns names of K attributes and of N images, and uint8 [N, K] in place of -1 and 1.

    The listing is the number of images, the attributes' names, and a line for each image.
    """
    count, *lines = tree.lines(listing)
    if count != str(len(lines) - 1):
        raise tree.damaged(listing, f"it must have {count} images, but has {len(lines) - 1}")
    classes = tuple(lines[0].split())
    images = [line.split(maxsplit=1) for line in lines[1:]]
    values = " ".join(image[-1] for image in images).split()
    if len(values) != len(images) * len(classes) or set(values) - {"-1", "1"}:
        raise tree.damaged(listing, f"an image must have {len(classes)} attributes, each -1 or 1")
    table = torch.tensor([value == "1" for value in values], dtype=torch.uint8)
    return classes, [image[0] for image in images], table.view(-1, len(classes))
