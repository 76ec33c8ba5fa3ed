"""The datasets known by name: what is true of each, wherever its images lie."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tinytl.data.images import Parts
from tinytl.data.sources import layouts
from tinytl.data.sources.cifar import CIFAR10, CIFAR100, BinaryRelease, read_cifar
from tinytl.data.sources.digits import digits
from tinytl.data.sources.files import Files
from tinytl.data.sources.folder import read_class_folders
from tinytl.data.sources.rendered import rendered_digits

CROP_SCALE = 0.22
"""The paper's smallest area of a random training crop, as a share of the image."""
_JITTER = (0.4, 0.4, 0.4, 0.1)


@dataclass(frozen=True)
class Counts:
    """How many classes, and images in each split, a dataset has when it is whole.

    A validation split is only one of the dataset's own.
    """

    classes: int
    train: int
    test: int
    validation: int = 0


@dataclass(frozen=True)
class Archive:
    """A file that a dataset's makers published.

    Attributes:
        file: Its name.
        digest: Its checksum, as `md5:...`.
        folder: The folder that it unpacks to; None for a file that is read as it is.
        url: Where it can be downloaded; None where it must be brought by hand.
    """

    file: str
    digest: str
    folder: str | None = None
    url: str | None = None


@dataclass(frozen=True)
class DatasetInfo:
    """What is true of a dataset, wherever its images lie.

    Attributes:
        name: Its name in a sweep file.
        read: Reads the dataset that lies in a folder or a zip.
        make: Makes the dataset that is built in; None where its images must be brought along.
        counts: What it has when it is whole; None for an own folder.
        multi_label: Whether an image has a label, 0 or 1, for each of the classes.
        crop_scale: Smallest area of a random training crop, as a share of the image.
        flip: Whether a mirrored image is still of the same class.
        colour_jitter: Brightness, contrast, saturation and hue, as the paper varies them in
            training; None for not at all.
        folders: Other names of its folder among the datasets, as its archives and torchvision have.
        archives: What its makers published.
        page: Where people find out how to get it.
    """

    name: str
    read: Callable[[Files], Parts] = read_class_folders
    make: Callable[[], Parts] | None = None
    counts: Counts | None = None
    multi_label: bool = False
    crop_scale: float = CROP_SCALE
    flip: bool = True
    colour_jitter: tuple[float, float, float, float] | None = None
    folders: tuple[str, ...] = ()
    archives: tuple[Archive, ...] = ()
    page: str = ""

    @property
    def needs_data(self) -> bool:
        """Whether its images must be brought along; False for what is built in."""
        return self.make is None


def _built_in(name: str, make: Callable[[], Parts], counts: Counts) -> DatasetInfo:
    # A mirrored digit is no digit, and a small crop of one may be another.
    return DatasetInfo(name, make=make, counts=counts, crop_scale=0.6, flip=False)


def _cifar(name: str, release: BinaryRelease, counts: Counts, digest: str) -> DatasetInfo:
    page = "https://www.cs.toronto.edu/~kriz/"
    return DatasetInfo(
        name,
        partial(read_cifar, release=release),
        counts=counts,
        folders=(release.folder, release.python_folder),
        archives=(Archive(release.archive, digest, release.folder, page + release.archive),),
        page=f"{page}cifar.html",
    )


_VGG = "https://www.robots.ox.ac.uk/~vgg/data/"
_FLOWERS = f"{_VGG}flowers/102/"
_AIRCRAFT = f"{_VGG}fgvc-aircraft/"
_PETS = f"{_VGG}pets/"
_CUB = "https://data.caltech.edu/records/65de6-vp158"

DATASETS: dict[str, DatasetInfo] = {
    info.name: info
    for info in (
        _built_in("digits", digits, Counts(10, train=600, test=1_197)),
        _built_in("rendered_digits", rendered_digits, Counts(10, train=6_000, test=1_000)),
        _cifar(
            "cifar10",
            CIFAR10,
            Counts(10, train=50_000, test=10_000),
            "md5:c32a1d4ab5d03f1284b67883e8d87530",
        ),
        _cifar(
            "cifar100",
            CIFAR100,
            Counts(100, train=50_000, test=10_000),
            "md5:03b5dce01913d631647c71ecec9e9cb8",
        ),
        DatasetInfo(
            "flowers102",
            layouts.read_flowers102,
            counts=Counts(102, train=2_040, test=6_149),
            folders=("flowers-102",),
            archives=(
                Archive(
                    "102flowers.tgz",
                    "md5:52808999861908f626f3c1f4e79d11fa",
                    "jpg",
                    f"{_FLOWERS}102flowers.tgz",
                ),
                Archive(
                    "imagelabels.mat",
                    "md5:e0620be6f572b9609742df49c70aed4d",
                    url=f"{_FLOWERS}imagelabels.mat",
                ),
                Archive(
                    "setid.mat",
                    "md5:a5357ecc9cb78c4bef273ce3793fc85c",
                    url=f"{_FLOWERS}setid.mat",
                ),
            ),
            page=_FLOWERS,
        ),
        DatasetInfo(
            "aircraft",
            layouts.read_aircraft,
            counts=Counts(100, train=6_667, test=3_333),
            colour_jitter=_JITTER,
            folders=("fgvc-aircraft-2013b",),
            archives=(
                Archive(
                    "fgvc-aircraft-2013b.tar.gz",
                    "md5:d4acdd33327262359767eeaa97a4f732",
                    "fgvc-aircraft-2013b",
                    f"{_AIRCRAFT}archives/fgvc-aircraft-2013b.tar.gz",
                ),
            ),
            page=_AIRCRAFT,
        ),
        DatasetInfo(
            "cars",
            layouts.read_cars,
            counts=Counts(196, train=8_144, test=8_041),
            colour_jitter=_JITTER,
            folders=("stanford_cars",),
            archives=(
                Archive("car_devkit.tgz", "md5:c3b158d763b6e2245038c8ad08e45376", "devkit"),
                Archive("cars_train.tgz", "md5:065e5b463ae28d29e77c1b4b166cfe61", "cars_train"),
                Archive("cars_test.tgz", "md5:4ce7ebf6a94d07f1952d94dd34c4d501", "cars_test"),
                Archive("cars_test_annos_withlabels.mat", "md5:b0a2b23655a3edd16d84508592a98d10"),
            ),
            page="https://www.kaggle.com/datasets/jessicali9530/stanford-cars-dataset",
        ),
        DatasetInfo(
            "cub200",
            layouts.read_cub200,
            counts=Counts(200, train=5_994, test=5_794),
            folders=("CUB_200_2011",),
            archives=(
                Archive(
                    "CUB_200_2011.tgz",
                    "md5:97eceeb196236b17998738112f37df78",
                    "CUB_200_2011",
                    f"{_CUB}/files/CUB_200_2011.tgz?download=1",
                ),
            ),
            page=_CUB,
        ),
        DatasetInfo(
            "food101",
            layouts.read_food101,
            counts=Counts(101, train=75_750, test=25_250),
            folders=("food-101",),
            archives=(
                Archive(
                    "food-101.tar.gz",
                    "md5:85eeb15f3717b99a5da872d97d918f87",
                    "food-101",
                    "https://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",
                ),
            ),
            page="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
        ),
        DatasetInfo(
            "pets",
            layouts.read_pets,
            counts=Counts(37, train=3_680, test=3_669),
            folders=("oxford-iiit-pet",),
            archives=(
                Archive(
                    "images.tar.gz",
                    "md5:5c4f3ee8e5d25df40f4fd59a7f44e54c",
                    "images",
                    f"{_PETS}data/images.tar.gz",
                ),
                Archive(
                    "annotations.tar.gz",
                    "md5:95a8c909bbe2e81eed6a22bccdf3f68f",
                    "annotations",
                    f"{_PETS}data/annotations.tar.gz",
                ),
            ),
            page=_PETS,
        ),
        DatasetInfo(
            "celeba",
            layouts.read_celeba,
            counts=Counts(40, train=162_770, validation=19_867, test=19_962),
            multi_label=True,
            archives=(
                Archive(
                    "img_align_celeba.zip",
                    "md5:00d2c5bc6d35e252742224ab0c1e8fcb",
                    "img_align_celeba",
                ),
                Archive("list_attr_celeba.txt", "md5:75e246fa4810816ffd6ee81facbd244c"),
                Archive("list_eval_partition.txt", "md5:d32c9cbf5e040fd4025c592c306e6668"),
            ),
            page="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        ),
    )
}
