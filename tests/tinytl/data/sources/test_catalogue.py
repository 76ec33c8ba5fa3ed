"""What is known of the paper's datasets, against what torchvision knows of the same archives."""

import re

import pytest
from torchvision import datasets as theirs

from tinytl.data import DATASETS
from tinytl.data.sources.catalogue import Archive

FLOWERS = theirs.Flowers102
THEIRS = {
    "flowers102": [(FLOWERS._download_url_prefix + f, d) for f, d in FLOWERS._file_dict.values()],
    "food101": [(theirs.Food101._URL.replace("http:", "https:"), theirs.Food101._MD5)],
    "pets": list(theirs.OxfordIIITPet._RESOURCES),
    "aircraft": [(theirs.FGVCAircraft._URL, None)],
    "celeba": [(name, digest) for _, digest, name in theirs.CelebA.file_list],
}
# of paper.md: classes, training, test
PAPER = {
    "flowers102": (102, 2_040, 6_149),
    "aircraft": (100, 6_667, 3_333),
    "cars": (196, 8_144, 8_041),
    "cub200": (200, 5_994, 5_794),
    "food101": (101, 75_750, 25_250),
    "pets": (37, 3_680, 3_669),
    "cifar10": (10, 50_000, 10_000),
    "cifar100": (100, 50_000, 10_000),
    "celeba": (40, 162_770, 19_962),
}
ARCHIVES = [archive for info in DATASETS.values() for archive in info.archives]


@pytest.mark.parametrize("name", THEIRS)
def test_archives_are_those_of_torchvision(name: str) -> None:
    known = dict(THEIRS[name])
    for archive in DATASETS[name].archives:
        digest = known[archive.url or archive.file]
        assert digest is None or archive.digest == f"md5:{digest}"


def test_sizes_are_those_of_the_paper() -> None:
    counts = {n: i.counts for n, i in DATASETS.items() if i.needs_data and i.counts}
    assert {n: (c.classes, c.train, c.test) for n, c in counts.items()} == PAPER
    # all of CelebA, and all that is held out by it for validation
    assert counts["celeba"].validation == 202_599 - 162_770 - 19_962
    assert [n for n, c in counts.items() if c.validation] == ["celeba"]
    assert [n for n, info in DATASETS.items() if info.multi_label] == ["celeba"]


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda archive: archive.file)
def test_an_archive_can_be_verified_and_is_downloaded_safely(archive: Archive) -> None:
    assert re.fullmatch(r"md5:[0-9a-f]{32}", archive.digest)
    assert archive.url is None or archive.url.startswith("https://")


@pytest.mark.parametrize("name", ["digits", "rendered_digits"])
def test_what_is_built_in_has_its_counts(name: str) -> None:
    info = DATASETS[name]
    parts = info.make()
    found = (len(parts.classes), len(parts.train), len(parts.test))
    assert found == (info.counts.classes, info.counts.train, info.counts.test)
