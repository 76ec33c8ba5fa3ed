"""The cache: the same images whatever is kept, built once, and whole whatever happens."""

import io
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tinytl.data import DATASETS, Splits, cache_side, cached, clear_cache, load_splits
from tinytl.data.pipeline.kept import DecodedImages, ShrunkImages
from tinytl.errors import DataError, StorageError

SIDE = 32
COUNT = 30


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TINYTL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "images"


def jpeg(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (20 + 2 * number, 60, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 1 + number % 8
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "jpeg", exif=exif)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def photos() -> dict[str, bytes]:
    parts = ("train/a", "train/b", "test/a", "test/b", "val/a")
    return {f"{parts[n % 5]}/{n}.jpg": jpeg(n) for n in range(COUNT)}


@pytest.fixture
def folder(write_folder, photos) -> Path:
    return write_folder("photos", photos)


def load(root: Path, validation: float = 0.1) -> Splits:
    return load_splits("photos", root, validation=validation)


def all_images(splits: Splits) -> list[torch.Tensor]:
    sets = [splits.train, splits.test, *([splits.validation] if splits.validation else [])]
    return [images.image(index) for images in sets for index in range(len(images))]


def equal(ours: Splits, theirs: Splits) -> bool:
    pairs = list(zip(all_images(ours), all_images(theirs), strict=True))
    return len(pairs) == COUNT and all(torch.equal(a, b) for a, b in pairs)


def kept_files(cache: Path) -> list[str]:
    """Names of the files, without the lock."""
    return sorted(path.name for path in cache.glob("*/*"))


def decoded_bytes(splits: Splits) -> int:
    return sum(image.numel() for image in all_images(splits))


# --- what is kept ---


def test_images_that_are_small_enough_come_back_exactly(write, photos):
    splits = load(write("photos", photos))
    assert equal(cached(splits, side=1000), splits)


def test_larger_images_are_shrunk_and_smaller_ones_stay(folder):
    before = all_images(load(folder))
    after = all_images(cached(load(folder), side=SIDE))
    for image, kept in zip(before, after, strict=True):
        short = min(image.shape[1:])
        assert min(kept.shape[1:]) == min(short, SIDE)
        if short <= SIDE:
            assert torch.equal(image, kept)


def test_above_the_limit_files_are_kept_and_above_that_nothing(write, photos, cache):
    splits = load(write("photos", photos))
    nothing = cached(splits, side=1000, limit_bytes=0)
    assert isinstance(nothing.test, ShrunkImages)
    assert kept_files(cache) == ["sizes"]
    files_bytes = sum(map(len, photos.values()))
    assert files_bytes < decoded_bytes(splits)
    encoded = cached(splits, side=1000, limit_bytes=files_bytes)
    assert isinstance(encoded.test, ShrunkImages)
    assert kept_files(cache) == ["encoded", "sizes"]
    decoded = cached(splits, side=1000, limit_bytes=decoded_bytes(splits))
    assert isinstance(decoded.test, DecodedImages)
    assert kept_files(cache) == ["decoded-1000", "encoded", "sizes"]
    for kept in (nothing, encoded, decoded):
        assert equal(kept, splits)


@pytest.mark.parametrize("limit_bytes", [0, 100_000, None])
def test_images_do_not_depend_on_what_is_kept(folder, limit_bytes):
    expected = cached(load(folder), side=SIDE)
    shutil.rmtree(os.environ["TINYTL_CACHE"])
    assert equal(cached(load(folder), side=SIDE, limit_bytes=limit_bytes), expected)


def test_what_is_kept_is_taken_whatever_the_limit(folder, cache):
    cached(load(folder), side=SIDE)
    assert isinstance(cached(load(folder), side=SIDE, limit_bytes=0).test, DecodedImages)


def test_kept_files_are_read_without_the_dataset(folder, photos):
    splits = cached(load(folder), side=SIDE, limit_bytes=sum(map(len, photos.values())))
    expected = all_images(splits)
    shutil.rmtree(folder)
    assert all(map(torch.equal, all_images(splits), expected))


@pytest.mark.parametrize("validation", [0.0, 0.1])
def test_labels_and_splits_stay_as_they_are(folder, validation):
    before = load(folder, validation)
    after = cached(before, side=SIDE)
    assert (after.name, after.classes) == (before.name, before.classes)
    assert torch.equal(after.train.labels, before.train.labels)
    assert torch.equal(after.test.labels, before.test.labels)
    assert (after.validation is None) == (validation == 0)
    reds = [[float(i[0].double().mean()) for i in all_images(s)] for s in (before, after)]
    assert np.corrcoef(*reds)[0, 1] > 0.9


def test_images_in_memory_need_no_cache(cache):
    splits = load_splits("digits", None, validation=0.1)
    assert cached(splits, side=SIDE) is splits
    assert not cache.exists()


# --- what it is kept for ---


def test_runs_on_other_parts_of_the_dataset_share_it(folder, cache):
    cached(load(folder), side=SIDE)
    files = {path: path.stat().st_mtime_ns for path in cache.rglob("decoded-*")}
    fewer = load_splits("photos", folder, validation=0.1, train_images=4, eval_images=2)
    steps = []
    cached(fewer, side=SIDE, on_progress=lambda done, total: steps.append(done))
    assert steps == []
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("decoded-*")} == files


def test_each_side_is_kept_for_itself(folder, cache):
    for side in (SIDE, 64):
        cached(load(folder), side=side)
    assert kept_files(cache) == ["decoded-32", "decoded-64", "sizes"]


def keys(cache: Path) -> int:
    return len([path for path in cache.iterdir() if path.is_dir()])


def test_where_an_archive_lies_does_not_matter(write_zip, photos, cache):
    for name in ("here", "there"):
        cached(load(write_zip(f"{name}/photos", photos)), side=SIDE)
    assert keys(cache) == 1


def test_changed_files_have_another_key(write, photos, cache):
    first = cached(load(write("photos", photos)), side=SIDE)
    changed = {**photos, "train/a/0.jpg": jpeg(5)}
    second = cached(load(write("photos", changed)), side=SIDE)
    assert keys(cache) == 2
    assert not torch.equal(first.train.image(0), second.train.image(0))
    cached(load(write("photos", {**changed, "train/a/new.jpg": jpeg(1)})), side=SIDE)
    assert keys(cache) == 3


@pytest.mark.parametrize(
    ("resolution", "dataset", "crop_scale", "expected"),
    [
        (224, "flowers102", None, 480),  # 224 / sqrt(0.22) = 477.6
        (224, "flowers102", 1.0, 480),
        (224, "flowers102", 0.08, 800),  # 792.0
        (320, "flowers102", None, 704),  # 682.2
        (96, "digits", 1.0, 128),  # 96 / sqrt(0.6) = 123.9
    ],
)
def test_the_side_gives_the_smallest_crop_enough_pixels(resolution, dataset, crop_scale, expected):
    assert cache_side(resolution, DATASETS[dataset], crop_scale) == expected


# --- whatever happens ---


def test_progress_goes_on_to_its_end(folder):
    steps = []
    cached(load(folder), side=SIDE, on_progress=lambda done, total: steps.append((done, total)))
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert steps[-1] == (2 * COUNT, 2 * COUNT)


@pytest.mark.parametrize("damage", [b"", b"no image", jpeg(3)[:300], jpeg(3)[: len(jpeg(3)) // 2]])
@pytest.mark.parametrize("name", ["train/b/1.jpg", "test/a/2.jpg"])
def test_a_damaged_image_is_named_and_nothing_is_left(write, photos, cache, name, damage):
    splits = load(write("photos", {**photos, name: damage}))
    with pytest.raises(DataError, match=f"cannot decode the image {name}"):
        cached(splits, side=SIDE)
    assert not set(kept_files(cache)) - {"sizes"}


def test_files_that_are_gone_are_told(folder):
    splits = load(folder)
    shutil.rmtree(folder)
    with pytest.raises(DataError, match="cannot be read any more"):
        cached(splits, side=SIDE)


def test_a_file_that_is_cut_is_built_anew(folder, cache):
    expected = cached(load(folder), side=SIDE)
    (path,) = cache.rglob("decoded-*")
    shutil.copyfile(path, cache / "copy")
    path.unlink()
    path.write_bytes((cache / "copy").read_bytes()[:1000])
    assert equal(cached(load(folder), side=SIDE), expected)


def test_what_is_cleared_is_decoded_anew_and_runs_go_on(folder, cache):
    running = cached(load(folder), side=SIDE)
    expected = [image.clone() for image in all_images(running)]
    kept = sum(path.stat().st_size for path in cache.glob("*/*"))
    assert clear_cache() == kept > 0
    assert not kept_files(cache)
    assert all(map(torch.equal, all_images(running), expected))
    assert equal(cached(load(folder), side=SIDE), running)
    clear_cache()
    assert clear_cache() == 0


DAMAGES = {
    "nothing": lambda content: b"",
    "cut": lambda content: content[:-24],
    "one bit": lambda content: content[:40] + bytes([content[40] ^ 1]) + content[41:],
    "another file": lambda content: b"\x93NUMPY",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_sizes_that_are_damaged_are_read_anew(folder, cache, damage):
    expected = cached(load(folder), side=SIDE)
    (path,) = cache.rglob("sizes")
    content = path.read_bytes()
    path.write_bytes(DAMAGES[damage](content))
    assert equal(cached(load(folder), side=SIDE), expected)
    assert path.read_bytes() == content


@pytest.mark.parametrize("small_disk_bytes", [2**20])
def test_a_full_disk_is_told_and_nothing_is_left(folder, small_disk, small_disk_bytes, monkeypatch):
    monkeypatch.setenv("TINYTL_CACHE", str(small_disk))
    (small_disk / "filled").write_bytes(bytes(small_disk_bytes - 2**16))
    with pytest.raises(StorageError, match=r"cannot write .*decoded-1000: No space left.*free"):
        cached(load(folder), side=1000, limit_bytes=10**9)
    assert not list(small_disk.rglob("*decoded*"))
    # the default limit is a third of what is free, so that nothing is built
    assert equal(cached(load(folder), side=1000), load(folder))


CHILD = """
import os, sys, time
from pathlib import Path
from tinytl.data import cached, load_splits
from tinytl.data.sources import folder
root, side, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
decode, steps = folder.decode, []
def slow(content):
    time.sleep(seconds)
    print("decoding", flush=True)
    return decode(content)
folder.decode = slow
splits = load_splits("photos", root, validation=0.1)
splits = cached(splits, side=side)
print("sum", sum(int(splits.train.image(i).sum()) for i in range(len(splits.train))), flush=True)
"""


def start(root: Path, seconds: float) -> subprocess.Popen:
    command = [sys.executable, "-c", CHILD, str(root), str(SIDE), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.integration
def test_of_processes_that_start_at_once_one_builds(folder):
    children = [start(folder, 0.05) for _ in range(3)]
    outputs = [child.communicate(timeout=120)[0].splitlines() for child in children]
    assert [child.returncode for child in children] == [0, 0, 0]
    decoded = [output.count("decoding") for output in outputs]
    assert sorted(decoded) == [0, 0, COUNT]
    assert len({output[-1] for output in outputs}) == 1


@pytest.mark.integration
def test_what_a_killed_builder_leaves_is_replaced(folder, cache):
    with start(folder, 0.2) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "decoding\n"
        child.send_signal(signal.SIGKILL)
    assert list(cache.rglob("*.partial"))
    splits = cached(load(folder), side=SIDE)
    assert not list(cache.rglob("*.partial"))
    assert isinstance(splits.test, DecodedImages)
    expected = cached(load(folder), side=SIDE, limit_bytes=0)
    shutil.rmtree(cache)
    assert equal(cached(load(folder), side=SIDE, limit_bytes=0), expected)
