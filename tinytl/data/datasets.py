"""Where the datasets' images are found, and the splits that a run uses."""

import os
from collections.abc import Iterator
from pathlib import Path

from tinytl.data.images import Images, Joined, Parts, Splits, Subset
from tinytl.data.sources.catalogue import DATASETS, DatasetInfo
from tinytl.data.sources.files import Files, open_files
from tinytl.data.sources.folder import is_image
from tinytl.data.split import draw, hold_out
from tinytl.errors import ConfigError, DataError, unknown_name
from tinytl.storage import cache_directory


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
        data_root: Where the images are, see `locate`.
        validation: Share of the training images to hold out, in [0, 1); 0 for nothing.
        train_images: Use at most this many training images.
        eval_images: Use at most this many images of the validation and of the test split each.

    Raises:
        ConfigError: If an argument breaks its rule.
        DataError: If the dataset is unknown, missing, or not of the shape it must have.
    """
    _check_arguments(validation, train_images, eval_images)
    parts = load_parts(dataset_info(name), data_root)
    train, held = _hold_out_validation(name, parts, validation)
    return Splits(
        name=name,
        classes=parts.classes,
        train=_at_most(train, train_images, f"{name}/train"),
        validation=None if held is None else _at_most(held, eval_images, f"{name}/validation"),
        test=_at_most(parts.test, eval_images, f"{name}/test"),
    )


def load_parts(info: DatasetInfo, data_root: Path | None) -> Parts:
    """Loads a dataset as it comes, before anything is held out.

    Raises:
        DataError: If it is missing, or not of the shape it must have.
    """
    if info.make is not None:
        return info.make()
    files = open_files(locate(info.name, data_root))
    try:
        return info.read(files)
    except DataError as error:
        for archive in info.archives:
            if archive.file in files.names and archive.folder not in {None, *files.folders}:
                raise DataError(
                    f"{files.location} holds {archive.file}, which is not unpacked to "
                    f"{archive.folder}/: run `tinytl data fetch {info.name}` with its --data"
                ) from error
        if info.archives and not any(map(is_image, files.names)) and not _is_begun(info, files):
            raise DataError(
                f"{files.location} holds nothing of {info.name}: get it with `tinytl data fetch "
                f"{info.name}`, or give the place of its images with --data"
            ) from error
        raise


def _is_begun(info: DatasetInfo, files: Files) -> bool:
    """Returns whether any part of a release is there, in whatever wraps it."""
    parts = {part for archive in info.archives for part in (archive.file, archive.folder)}
    return any(name.rpartition("/")[2] in parts for name in (*files.names, *files.folders))


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
    return DatasetInfo(name)


def default_root() -> Path:
    """Returns where datasets are unless said otherwise: `TINYTL_DATA`, or data/ in the cache."""
    return Path(os.environ.get("TINYTL_DATA") or cache_directory() / "data")


def locate(name: str, data_root: Path | None) -> Path:
    """Finds the folder or archive of a dataset that is not built in.

    That is `<data_root>/<name>/` or `<data_root>/<name>.zip`, or `data_root` itself where it holds
    no other dataset that is known by name. Without a data root it is looked for in `default_root`.

    Raises:
        DataError: If the data root does not hold the dataset.
    """
    root = default_root() if data_root is None else data_root
    for place in places(name, root):
        return place
    if data_root is None:
        if name not in DATASETS:
            raise DataError(
                f"{unknown_name('dataset', name, DATASETS)}; for own images put {name}/ or "
                f"{name}.zip into {root}, or give their place with --data DIR"
            )
        raise DataError(
            f"the dataset {name} is not built in and not in {root}: get it with `tinytl data fetch "
            f"{name}`, or give the place of its images with --data DIR, where DIR holds {name}/ or "
            f"{name}.zip, or is that folder or archive"
        )
    if not root.exists():
        raise DataError(f"the data root {root} does not exist; correct the path after --data")
    if others := [other for other in DATASETS if any(places(other, root))]:
        raise DataError(
            f"{root} holds no {name}/ and no {name}.zip, but {', '.join(others)}; "
            f"bring {name} there, or give another --data"
        )
    return root


def places(name: str, root: Path) -> Iterator[Path]:
    """Yields where the dataset is found in a folder of datasets."""
    others = DATASETS[name].folders if name in DATASETS else ()
    yield from (root / folder for folder in (name, *others) if _holds_something(root / folder))
    if (archive := root / f"{name}.zip").is_file():
        yield archive


def _holds_something(folder: Path) -> bool:
    """Returns whether there is more in a folder than what a failed download leaves behind."""
    return folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir())


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
