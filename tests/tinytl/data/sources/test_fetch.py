"""Fetching: archives that lie in place, that a server has, and that are not the right ones."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.official import COUNTS, RELEASES, place_archives, tree
from tinytl.data import DATASETS, DatasetInfo, load_splits
from tinytl.data.sources.fetch import fetch_dataset, verify_archive
from tinytl.errors import DataError, DownloadError


def run(info: DatasetInfo, root: Path) -> tuple[list[str], list[str]]:
    """Returns what was said, and what began."""
    begun: list[str] = []

    def begin(what: str) -> Callable[[int, int | None], None]:
        begun.append(what)
        return lambda done, total: None

    return list(fetch_dataset(info, root, begin)), begun


@pytest.mark.parametrize("name", RELEASES)
def test_archives_in_place_are_unpacked_and_read(name, tmp_path):
    info = place_archives(name, tmp_path)
    said, begun = run(info, tmp_path)
    assert len(said) == len(info.archives)
    assert begun == [f"unpacking {archive.file}" for archive in info.archives if archive.folder]
    for file, data in tree(name).items():
        if file != "attributes.txt":
            assert (tmp_path / name / file).read_bytes() == data
    splits = load_splits(name, tmp_path, validation=0)
    counts = COUNTS[name]
    assert len(splits.train) == counts.train + counts.validation
    assert len(splits.test) == counts.test


def test_what_is_unpacked_needs_no_archive(tmp_path):
    info = place_archives("cars", tmp_path)
    run(info, tmp_path)
    for archive in ("car_devkit.tgz", "cars_train.tgz", "cars_test.tgz"):
        (tmp_path / "cars" / archive).unlink()
    said, begun = run(info, tmp_path)
    assert begun == []
    assert [line.endswith("was there") for line in said] == [True, True, True, False]


@pytest.fixture
def server(tmp_path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address at which its files can be fetched."""
    place = tmp_path / "served"
    place.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=place)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield place, f"http://127.0.0.1:{httpd.server_port}/"
        httpd.shutdown()


@pytest.mark.parametrize("name", ["pets", "flowers102"])
def test_missing_archives_are_downloaded(name, server, tmp_path):
    place, address = server
    info = place_archives(name, place)
    archives = tuple(replace(a, url=f"{address}{name}/{a.file}") for a in info.archives)
    _, begun = run(replace(info, archives=archives), tmp_path / "data")
    assert [b for b in begun if "down" in b] == [f"downloading {a.file}" for a in archives]
    assert len(load_splits(name, tmp_path / "data", validation=0).train) == COUNTS[name].train


def test_a_download_with_another_digest_is_refused(server, tmp_path):
    place, address = server
    info = place_archives("pets", place)
    archives = tuple(
        replace(a, url=f"{address}pets/{a.file}", digest=DATASETS["pets"].archives[0].digest)
        for a in info.archives
    )
    with pytest.raises(DownloadError, match=r"images\.tar\.gz.* md5 must be 5c4f3ee8.*, but is"):
        run(replace(info, archives=archives), tmp_path / "data")
    assert not (tmp_path / "data/pets/images").exists()


def test_what_cannot_be_downloaded_may_be_placed_by_hand(tmp_path):
    info = DATASETS["pets"]
    archives = tuple(replace(a, url="http://127.0.0.1:9/a") for a in info.archives)
    with pytest.raises(DownloadError) as caught:
        run(replace(info, archives=archives), tmp_path)
    assert str(caught.value).startswith(
        f"place images.tar.gz in {tmp_path}/pets/ by hand, or try again later: cannot download "
        "images.tar.gz: http://127.0.0.1:9/a: no connection ("
    )


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("cars", "car_devkit.tgz, cars_train.tgz, cars_test.tgz, cars_test_annos_withlabels.mat"),
        ("celeba", "img_align_celeba.zip, list_attr_celeba.txt, list_eval_partition.txt"),
    ],
)
def test_what_must_be_brought_by_hand(name, files, tmp_path):
    with pytest.raises(DataError) as caught:
        run(DATASETS[name], tmp_path)
    assert str(caught.value) == (
        f"{name} cannot be downloaded from here: get {files} by way of {DATASETS[name].page} and "
        f"place this, or the folders it unpacks to, in {tmp_path / name}/ under the same names"
    )


def test_a_renamed_archive(tmp_path):
    info = place_archives("cars", tmp_path)
    (tmp_path / "cars/cars_train.tgz").rename(tmp_path / "cars/cars_train (1).tgz")
    with pytest.raises(DataError) as caught:
        run(info, tmp_path)
    assert "get cars_train.tgz by way of" in str(caught.value)
    assert "found there under other names: cars_train (1).tgz" in str(caught.value)
    assert not (tmp_path / "cars/devkit").exists()


def test_a_truncated_archive(tmp_path):
    info = place_archives("celeba", tmp_path)
    path = tmp_path / "celeba/img_align_celeba.zip"
    path.write_bytes(path.read_bytes()[:-40])
    digest = info.archives[0].digest.removeprefix("md5:")
    with pytest.raises(
        DownloadError, match=rf"celeba\.zip .*md5 must be {digest}, but is [0-9a-f]{{32}}"
    ):
        run(info, tmp_path)
    assert path.exists()  # what people brought is theirs to remove


def test_an_archive_under_the_name_of_another(tmp_path):
    info = place_archives("cars", tmp_path)
    place = tmp_path / "cars"
    (place / "cars_test.tgz").replace(place / "cars_train.tgz")
    with pytest.raises(DownloadError, match=r"cars_train\.tgz is not the file it must be"):
        verify_archive(info.archives[1], place)
