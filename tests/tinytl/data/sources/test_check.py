"""Checking: whole datasets, and each way in which one is not."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.official import COUNTS, RELEASES, place_archives
from tinytl.data import DATASETS, DatasetInfo, dataset_info
from tinytl.data.sources.check import SAMPLE, check_dataset
from tinytl.data.sources.fetch import fetch_dataset
from tinytl.errors import DataError


def check(info: DatasetInfo, root: Path | None, every: bool = True) -> tuple[list[str], list[str]]:
    """Returns what was found right, and what was found wrong."""
    told: list[tuple[int, int | None]] = []
    found = list(
        check_dataset(
            info,
            root,
            every_image=every,
            on_progress=lambda done, total: told.append((done, total)),
        )
    )
    if told:
        assert [done for done, _ in told] == list(range(1, len(told) + 1))
        assert told[-1][0] == told[-1][1]
    return [f.text for f in found if f.ok], [f.text for f in found if not f.ok]


@pytest.fixture
def fetched(tmp_path):
    def fetch(name: str) -> DatasetInfo:
        info = place_archives(name, tmp_path)
        list(fetch_dataset(info, tmp_path, lambda what: lambda done, total: None))
        return info

    return fetch


@pytest.mark.parametrize("name", RELEASES)
def test_a_whole_dataset(name, fetched, tmp_path):
    info = fetched(name)
    right, wrong = check(info, tmp_path)
    assert wrong == []
    counts = COUNTS[name]
    images = counts.train + counts.validation + counts.test
    assert right == [
        f"{name} is looked for in {tmp_path / name}",
        *(f"{archive.file}: {archive.digest}" for archive in info.archives),
        f"{counts.classes} classes",
        f"{counts.train} training images",
        f"{counts.validation} validation images",
        f"{counts.test} test images",
        f"all {images} images decoded",
    ]


def test_counts_that_differ(fetched, tmp_path):
    fetched("pets")
    _, wrong = check(DATASETS["pets"], tmp_path)
    assert [text for text in wrong if "must be" in text and "md5" not in text] == [
        "3 classes, but there must be 37",
        "6 training images, but there must be 3,680",
        "3 test images, but there must be 3,669",
    ]
    assert sum("is not the file it must be: its md5" in text for text in wrong) == 2


def test_damaged_images_are_named(fetched, tmp_path):
    info = fetched("celeba")
    folder = tmp_path / "celeba/img_align_celeba"
    for number in range(1, 9):
        (folder / f"{number:06d}.jpg").write_bytes(b"damaged")
    right, wrong = check(info, tmp_path)
    assert "decoded" not in right[-1]
    assert [f"00000{n}.jpg" in text for n, text in enumerate(wrong[:5], 1)] == [True] * 5
    assert wrong[5:] == ["3 more images cannot be decoded"]


def test_what_cannot_be_read_ends_the_check(fetched, tmp_path):
    info = fetched("aircraft")
    (tmp_path / "aircraft/fgvc-aircraft-2013b/data/images/0001000.jpg").unlink()
    right, wrong = check(info, tmp_path)
    assert len(right) == 2
    assert len(wrong) == 1 and "lacks 1 of the 8 images" in wrong[0]


def test_a_dataset_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="not built in and not in"):
        check(DATASETS["pets"], None)
    with pytest.raises(DataError, match="does not exist"):
        check(DATASETS["pets"], tmp_path / "nowhere")


def test_a_sample_of_what_is_built_in():
    right, wrong = check(DATASETS["digits"], None, every=False)
    assert (wrong, right[-1]) == ([], f"a sample of {2 * SAMPLE} images decoded")


def test_an_own_folder_is_told_as_it_is(write, class_folders):
    root = write("shoes", class_folders("train/", a=3, b=3) | class_folders("test/", a=1, b=1))
    right, wrong = check(dataset_info("shoes"), root)
    assert wrong == []
    assert right[1:4] == ["2 classes", "6 training images", "0 validation images"]


def test_labels_without_training_images_are_missed(fetched, tmp_path):
    info = replace(fetched("flowers102"), counts=DATASETS["flowers102"].counts)
    assert "5 classes, but there must be 102" in check(info, tmp_path)[1]
