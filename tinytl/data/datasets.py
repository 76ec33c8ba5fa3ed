"""The datasets known by name, and where their images are found."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tinytl.data.cifar import CIFAR10, CIFAR100, Release, read_cifar
from tinytl.data.digits import digits
from tinytl.data.files import open_files
from tinytl.data.folder import read_class_folders
from tinytl.data.images import Images, Joined, Parts, Splits, Subset
from tinytl.data.rendered import rendered_digits
from tinytl.data.split import draw, hold_out
from tinytl.errors import ConfigError, DataError, unknown_name

CROP_SCALE = 0.22
"""The paper's smallest area of a random training crop, as a share of the image."""


@dataclass(frozen=True)
class DatasetInfo:
    """What is true of a dataset, wherever its images lie.

    Attributes:
        name: Its name in a sweep file.
        load: Reads it, given the data root or None.
        needs_data: Whether its images must be brought along; False for what is built in.
        crop_scale: Smallest area of a random training crop, as a share of the image.
        flip: Whether a mirrored image is still of the same class.
        colour_jitter: Brightness, contrast, saturation and hue, as the paper varies them in
            training; None for not at all.
    """

    name: str
    load: Callable[[Path | None], Parts]
    needs_data: bool
    crop_scale: float = CROP_SCALE
    flip: bool = True
    colour_jitter: tuple[float, float, float, float] | None = None


def load_splits(
    name: str,
    data_root: Path | None,
    *,
    validation: float,
    train_images: int | None = None,
    eval_images: int | None = None,
) -> Splits:
    """Loads a dataset and holds its validation images out of the training data.

    Everything is drawn by class and depends on the dataset's name, never on a seed. A dataset with
    a validation split of its own has that one where `validation` is above 0, and trains on it too
    where it is 0.

    Args:
        name: A name in `DATASETS`, or that of an own folder below `data_root`.
        data_root: Where the images are, see `locate`; None for what is built in.
        validation: Share of the training images to hold out, in [0, 1); 0 for nothing.
        train_images: Use at most this many training images.
        eval_images: Use at most this many images of the validation and of the test split each.

    Raises:
        ConfigError: If an argument breaks its rule.
        DataError: If the dataset is unknown, missing, or not of the shape it must have.
    """
    _check_arguments(validation, train_images, eval_images)
    parts = dataset_info(name).load(data_root)
    train, held = _hold_out_validation(name, parts, validation)
    return Splits(
        name=name,
        classes=parts.classes,
        train=_at_most(train, train_images, f"{name}/train"),
        validation=None if held is None else _at_most(held, eval_images, f"{name}/validation"),
        test=_at_most(parts.test, eval_images, f"{name}/test"),
    )


def dataset_info(name: str) -> DatasetInfo:
    """Returns what is true of a dataset; an unknown name is that of an own folder.

    Raises:
        ConfigError: If the name cannot be that of a folder.
    """
    if name in DATASETS:
        return DATASETS[name]
    if name in {"", ".", ".."} or "/" in name or "\\" in name:
        raise ConfigError(
            f"dataset: must be a name in {', '.join(DATASETS)}, or the name of an own folder, but "
            f"got {name!r}; give the path of its parent with --data"
        )
    return _class_folders(name)


def locate(name: str, data_root: Path | None) -> Path:
    """Finds the folder or archive of a dataset that is not built in.

    That is `<data_root>/<name>/` or `<data_root>/<name>.zip`, or `data_root` itself where it holds
    no other dataset that is known by name.

    Raises:
        DataError: If there is no data root, or it does not hold the dataset.
    """
    if data_root is None:
        if name not in DATASETS:
            raise DataError(
                f"{unknown_name('dataset', name, DATASETS)}; an own folder of images needs its "
                "place too: --data DIR"
            )
        raise DataError(
            f"the dataset {name} is not built in: give the place of its images with --data DIR, "
            f"where DIR holds {name}/ or {name}.zip, or is that folder or archive"
        )
    if not data_root.exists():
        raise DataError(f"the data root {data_root} does not exist; correct the path after --data")
    if data_root.is_dir():
        for place in _places(name, data_root):
            return place
        others = [other for other in DATASETS if any(_places(other, data_root))]
        if others:
            raise DataError(
                f"{data_root} holds no {name}/ and no {name}.zip, but {', '.join(others)}; "
                f"bring {name} there, or give another --data"
            )
    return data_root


def _places(name: str, root: Path) -> Iterator[Path]:
    """Yields where the dataset is found in a folder of datasets."""
    release = RELEASES.get(name)
    folders = [name, *((release.folder, release.python_folder) if release else ())]
    yield from (root / folder for folder in folders if (root / folder).is_dir())
    if (archive := root / f"{name}.zip").is_file():
        yield archive


def _check_arguments(validation: float, train_images: int | None, eval_images: int | None) -> None:
    problems = []
    if not 0 <= validation < 1:
        problems.append(f"validation: `0 <= validation < 1` must hold, but got {validation!r}")
    for key, count in (("train_images", train_images), ("eval_images", eval_images)):
        if count is not None and count < 1:
            problems.append(f"{key}: must be at least 1, or None for all, but got {count!r}")
    if problems:
        raise ConfigError(problems)


def _hold_out_validation(name: str, parts: Parts, share: float) -> tuple[Images, Images | None]:
    """Returns the images to train on, and those to validate on."""
    if parts.validation is not None:
        if share > 0:
            return parts.train, parts.validation
        return Joined(parts.train, parts.validation), None
    if share == 0:
        return parts.train, None
    kept, held = hold_out(parts.train.labels, share, name)
    if len(held) == 0:
        raise DataError(
            f"no class of {name} has two training images, so none can be held out for validation; "
            "add images, or set validation to 0"
        )
    return Subset(parts.train, kept), Subset(parts.train, held)


def _at_most(images: Images, count: int | None, name: str) -> Images:
    if count is None or count >= len(images):
        return images
    return Subset(images, draw(images.labels, count, name))


def _class_folders(
    name: str, colour_jitter: tuple[float, float, float, float] | None = None
) -> DatasetInfo:
    def load(data_root: Path | None) -> Parts:
        return read_class_folders(open_files(locate(name, data_root)))

    return DatasetInfo(name, load, needs_data=True, colour_jitter=colour_jitter)


def _cifar(name: str, release: Release) -> DatasetInfo:
    def load(data_root: Path | None) -> Parts:
        return read_cifar(locate(name, data_root), release)

    return DatasetInfo(name, load, needs_data=True)


def _built_in(name: str, make: Callable[[], Parts]) -> DatasetInfo:
    # A mirrored digit is no digit, and a small crop of one may be another.
    return DatasetInfo(name, lambda _: make(), needs_data=False, crop_scale=0.6, flip=False)


_JITTER = (0.4, 0.4, 0.4, 0.1)
RELEASES = {"cifar10": CIFAR10, "cifar100": CIFAR100}
DATASETS: dict[str, DatasetInfo] = {
    info.name: info
    for info in (
        _built_in("digits", digits),
        _built_in("rendered_digits", rendered_digits),
        *(_cifar(name, release) for name, release in RELEASES.items()),
        _class_folders("flowers102"),
        _class_folders("aircraft", colour_jitter=_JITTER),
        _class_folders("cars", colour_jitter=_JITTER),
        _class_folders("cub200"),
        _class_folders("food101"),
        _class_folders("pets"),
    )
}
