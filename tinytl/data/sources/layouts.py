"""The paper's datasets of files, as their makers published them.

Each reader takes the tree that the official archives unpack to, wherever it is wrapped, in a folder
or a zip. It is told from class folders, which are read too, by the files that list its images.
"""

import numpy as np
import torch
from torch import Tensor

from tinytl.data.images import Parts
from tinytl.data.sources.files import Files
from tinytl.data.sources.folder import FileImages
from tinytl.data.sources.tree import Tree, layout
from tinytl.errors import DataError


@layout("imagelabels.mat", "setid.mat")
def read_flowers102(tree: Tree) -> Parts:
    """Reads Oxford Flowers 102; its training and validation split are one training set."""
    from torchvision.datasets import Flowers102  # the release has no names of the classes

    classes = tuple(Flowers102.classes)
    numbers = tree.matlab("imagelabels.mat", "labels")

    def split(*keys: str) -> FileImages:
        values = np.concatenate([tree.matlab("setid.mat", key) for key in keys])
        ids = tree.numbers("setid.mat", values)
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
        labels = tree.labels(listing, rows["class"], len(classes))
        return tree.images(listing, [f"{place}/{name}" for name in rows["fname"]], labels)

    train = split("cars_train", "devkit/cars_train_annos.mat")
    return Parts(classes, train, None, split("cars_test", "cars_test_annos_withlabels.mat"))


@layout("images.txt", "image_class_labels.txt", "train_test_split.txt")
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
        return tree.numbers(listing, (values[image] for image, _ in images))

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
        return listing, [image for image, _ in rows], numbers.tolist()

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
    # one character for each attribute, as the file of all celebrities has eight million
    signs = "".join(image[-1].replace("-1", "-").replace(" ", "") for image in images)
    values = np.frombuffer(signs.encode(), np.uint8)
    present = values == ord("1")
    if len(values) != len(images) * len(classes) or not (present | (values == ord("-"))).all():
        raise tree.damaged(listing, f"an image must have {len(classes)} attributes, each -1 or 1")
    table = torch.from_numpy(present.astype(np.uint8)).view(-1, len(classes))
    return classes, [image[0] for image in images], table
