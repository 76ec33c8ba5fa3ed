from pathlib import Path

import pytest
import torch

from tinytl.data import DATASETS, dataset_info, load_splits, locate
from tinytl.errors import ConfigError, DataError


def reds(images) -> list[int]:
    return [int(images.image(index)[0, 0, 0]) for index in range(len(images))]


def test_names():
    assert {name for name, info in DATASETS.items() if not info.needs_data} == {
        "digits",
        "rendered_digits",
    }
    assert all(info.name == name for name, info in DATASETS.items())
    paper = {"flowers102", "aircraft", "cars", "cub200", "food101", "pets", "cifar10", "cifar100"}
    paper.add("celeba")
    assert {name for name, info in DATASETS.items() if info.crop_scale == 0.22} == paper
    assert {name for name, info in DATASETS.items() if info.colour_jitter} == {"aircraft", "cars"}
    assert dataset_info("shoes").needs_data and dataset_info("shoes").flip


@pytest.fixture
def content(class_folders) -> dict[str, bytes]:
    return class_folders("train/", a=10, b=20) | class_folders("test/", start=100, a=6, b=8)


@pytest.mark.parametrize("name", ["flowers102", "cifar10", "shoes"])
@pytest.mark.parametrize("place", ["below the root", "the root itself", "the root wraps it"])
def test_where_a_dataset_is_found(write, content, tmp_path, name, place):
    if place == "below the root":
        write(f"data/{name}", content)
        root = tmp_path / "data"
    elif place == "the root itself":
        root = write("anything", content)
    else:
        root = write("anything", {f"some-name/{file}": data for file, data in content.items()})
    splits = load_splits(name, root, validation=0.1)
    assert (splits.name, splits.classes) == (name, ("a", "b"))
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (27, 3, 14)


@pytest.mark.parametrize("folder", ["cifar-10-batches-bin", "cifar-10-batches-py"])
def test_a_release_is_found_in_a_folder_of_datasets(write_folder, tmp_path, folder):
    write_folder(f"data/{folder}", {"data_batch_1": b""})
    write_folder("data/pets", {})
    assert locate("cifar10", tmp_path / "data") == tmp_path / "data" / folder


@pytest.mark.parametrize(
    ("name", "root", "problem"),
    [
        ("flower102", None, "unknown dataset 'flower102': .*did you mean 'flowers102'.*--data DIR"),
        ("flowers102", None, "flowers102 is not built in .*data fetch flowers102.*--data DIR"),
        ("flowers102", "nowhere", "data root .*nowhere does not exist"),
        ("cars", "data", r"holds no cars/ and no cars\.zip, but flowers102"),
        ("shoes", "data", r"holds no shoes/ and no shoes\.zip, but flowers102"),
        ("shoes", "empty", "holds no class folders with images"),
        ("shoes", "text.txt", "not a whole zip archive"),
    ],
)
def test_a_dataset_that_is_not_there(write_folder, tmp_path, content, name, root, problem):
    write_folder("data/flowers102", content)
    write_folder("empty", {})
    (tmp_path / "text.txt").write_text("no archive")
    with pytest.raises(DataError, match=problem):
        load_splits(name, root and tmp_path / root, validation=0.1)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\\b", "/etc"])
def test_a_name_is_no_path(name, tmp_path):
    with pytest.raises(ConfigError, match="the name of an own folder"):
        load_splits(name, tmp_path, validation=0.1)


def test_every_bad_argument_at_once():
    with pytest.raises(ConfigError) as caught:
        load_splits("digits", None, validation=1.0, train_images=0, eval_images=-1)
    assert [text.split(":")[0] for text in caught.value.problems] == [
        "validation",
        "train_images",
        "eval_images",
    ]


def test_what_is_built_in_needs_no_data(tmp_path):
    for root in (None, tmp_path / "nowhere"):
        assert len(load_splits("digits", root, validation=0).train) == 600


def test_validation_is_stratified_and_disjoint(write, content):
    root = write("shoes", content)
    splits = load_splits("shoes", root, validation=0.3)
    assert splits.train.labels.bincount().tolist() == [7, 14]
    assert splits.validation.labels.bincount().tolist() == [3, 6]
    assert sorted(reds(splits.train) + reds(splits.validation)) == list(range(30))
    whole = load_splits("shoes", root, validation=0)
    assert whole.validation is None
    assert sorted(reds(whole.train)) == list(range(30))
    assert reds(whole.test) == reds(splits.test) == list(range(100, 114))


def test_the_name_decides_the_split(write_folder, content):
    root = write_folder("any", content)

    def held(name: str, seed: int) -> list[int]:
        torch.manual_seed(seed)
        return reds(load_splits(name, root, validation=0.3).validation)

    assert held("shoes", seed=1) == held("shoes", seed=2)
    assert held("shoes", seed=1) != held("boots", seed=1)


@pytest.mark.parametrize(
    ("validation", "train", "held"), [(0.5, 30, 4), (0.01, 30, 4), (0, 34, None)]
)
def test_a_validation_split_of_its_own(write, content, class_folders, validation, train, held):
    root = write("shoes", content | class_folders("val/", start=200, a=2, b=2))
    splits = load_splits("shoes", root, validation=validation)
    assert len(splits.train) == train
    assert (splits.validation and len(splits.validation)) == held
    assert (200 in reds(splits.train)) == (held is None)


def test_nothing_can_be_held_out(write, class_folders):
    root = write("shoes", class_folders("train/", a=1, b=1) | class_folders("test/", a=1, b=1))
    with pytest.raises(DataError, match="set validation to 0"):
        load_splits("shoes", root, validation=0.5)
    assert len(load_splits("shoes", root, validation=0).train) == 2


def test_limits_are_stratified_draws():
    whole = load_splits("digits", None, validation=0.2)
    few = load_splits("digits", None, validation=0.2, train_images=100, eval_images=50)
    assert (len(few.train), len(few.validation), len(few.test)) == (100, 50, 50)
    for name in ("train", "validation", "test"):
        small, large = getattr(few, name), getattr(whole, name)
        share = large.labels.bincount() / len(large) * len(small)
        assert (small.labels.bincount() - share).abs().max() < 1
        contents = {large.image(index).numpy().tobytes() for index in range(len(large))}
        assert all(small.image(i).numpy().tobytes() in contents for i in range(len(small)))
    again = load_splits("digits", None, validation=0.2, train_images=100, eval_images=50)
    assert torch.equal(again.train.labels, few.train.labels)
    assert torch.equal(again.train.image(7), few.train.image(7))


def test_limits_above_the_size_change_nothing():
    splits = load_splits("digits", None, validation=0, train_images=10_000, eval_images=10_000)
    assert (len(splits.train), len(splits.test)) == (600, 1197)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "archive", "sizes", "classes"),
    [
        ("cifar10", "cifar10-subset.zip", (20_000, 0, 5_000), 10),
        ("cifar10", "cifar10-subset.zip", (18_000, 2_000, 5_000), 10),
        ("grocery", "grocery-81.zip", (2_936, 0, 2_485), 81),
        ("grocery", "grocery-81.zip", (2_640, 296, 2_485), 81),
    ],
)
def test_real_images(shared_dir: Path, name, archive, sizes, classes):
    train, held, test = sizes
    splits = load_splits(name, shared_dir / "data" / archive, validation=0.1 if held else 0)
    assert len(splits.classes) == classes
    assert len(splits.train) == train
    assert (len(splits.validation) if splits.validation else 0) == held
    assert len(splits.test) == test
    for images in (splits.train, splits.test):
        assert images.labels.bincount(minlength=classes).min() > 0
        for index in range(0, len(images), len(images) // 20):
            image = images.image(index)
            assert image.dtype == torch.uint8 and image.shape[0] == 3
