import io

import numpy as np
import pytest
import torch
from PIL import Image

from tinytl.data.sources.files import open_files
from tinytl.data.sources.folder import decode, decoded_size, read_class_folders
from tinytl.errors import DataError


def reds(images) -> list[int]:
    """The red that tells each image apart."""
    return [int(images.image(index)[0, 0, 0]) for index in range(len(images))]


@pytest.fixture
def read(write):
    return lambda content: read_class_folders(open_files(write("set", content)))


@pytest.mark.parametrize("base", ["", "wrapping/"])
def test_train_val_test(read, class_folders, base):
    parts = read(
        class_folders(f"{base}train/", dog=3, cat=2)
        | class_folders(f"{base}val/", start=50, cat=1, dog=1)
        | class_folders(f"{base}test/", start=100, cat=1, dog=2)
        | {f"{base}LICENSE": b"text", f"{base}cover.png": b"text"}
    )
    assert parts.classes == ("cat", "dog")
    # The dogs were written first, the classes are sorted.
    assert (reds(parts.train), parts.train.labels.tolist()) == ([3, 4, 0, 1, 2], [0, 0, 1, 1, 1])
    assert (reds(parts.validation), parts.validation.labels.tolist()) == ([50, 51], [0, 1])
    assert (reds(parts.test), parts.test.labels.tolist()) == ([100, 101, 102], [0, 1, 1])
    assert parts.train.labels.dtype == torch.int64


def test_a_validation_split_may_lack_a_class(read, class_folders):
    parts = read(
        class_folders("train/", a=1, b=1, c=1)
        | class_folders("val/", c=2)
        | class_folders("test/", a=1, b=1, c=1)
    )
    assert parts.validation.labels.tolist() == [2, 2]


def test_val_without_test_is_the_test_set(read, class_folders):
    parts = read(class_folders("train/", a=2, b=2) | class_folders("val/", start=9, a=1, b=1))
    assert parts.validation is None
    assert reds(parts.test) == [9, 10]


@pytest.mark.parametrize("base", ["", "wrapping/", "train/", "wrapping/train/"])
def test_without_a_test_set_a_fifth_of_each_class_is_held_out(read, class_folders, base):
    parts = read(class_folders(base, a=10, b=20, c=5))
    assert parts.classes == ("a", "b", "c")
    assert parts.test.labels.tolist() == [0] * 2 + [1] * 4 + [2]
    assert sorted(reds(parts.train) + reds(parts.test)) == list(range(35))


def test_the_held_out_test_set_is_always_the_same(write_folder, write_zip, class_folders):
    content = class_folders(a=30, b=30)
    found = [write("one", content) for write in (write_folder, write_zip)]
    found.append(
        write_folder("another", {f"wrapping/{name}": data for name, data in content.items()})
    )
    first, *others = [reds(read_class_folders(open_files(place)).test) for place in found]
    assert all(other == first for other in others)


def test_train_may_be_a_class(read, class_folders):
    assert read(class_folders(car=5, train=5)).classes == ("car", "train")


def test_suffixes_of_images(read, png):
    names = ["a/1.PNG", "a/2.jpeg", "a/notes.txt", "a/3.webp", "b/4.png", "b/5.tif", "b/Thumbs.db"]
    parts = read({name: png(0) for name in names})
    assert len(parts.train) + len(parts.test) == 5


@pytest.mark.parametrize(
    ("content", "problems"),
    [
        ({}, ["holds no class folders with images"]),
        ({"1.png": 0}, ["holds no class folders with images"]),
        ({"a/": 0, "b/": 0}, ["holds no class folders with images"]),
        ({"a/notes.txt": 0, "b/notes.txt": 0}, ["holds no class folders with images"]),
        ({"x/train/a/1.png": 0, "y/train/a/1.png": 0}, ["holds no class folders with images"]),
        ({"only/1.png": 0, "only/2.png": 0}, ["one class only (only)"]),
        ({"a/1.png": 0, "b/": 0, "c/1.png": 0}, ["no images right in the class b;"]),
        ({"a/1.png": 0, "b/n.txt": 0}, ["no images right in the class b;"]),
        ({"a/1.png": 0, "b/deep/1.png": 0}, ["no images right in the class b;"]),
        ({"a/1.png": 0, "b/1.png": 0}, ["no class with two images"]),
        (
            {"train/a/1.png": 0, "train/b/1.png": 0, "test/a/1.png": 0, "test/c/1.png": 0},
            ["lacks the class b of train/", "has the class c, which train/ lacks"],
        ),
        (
            {"train/a/1.png": 0, "train/b/1.png": 0, "val/a/1.png": 0},
            ["val/ in ", "lacks the class b of train/"],
        ),
        (
            {"train/a/1.png": 0, "train/b/1.png": 0, "test/a/1.png": 0, "test/b/": 0},
            ["test/ in ", "no images right in the class b;"],
        ),
        (
            {f"train/{c}/1.png": 0 for c in "abcdefgh"} | {"test/a/1.png": 0},
            ["lacks the class b, c, d, e, f and 2 more"],
        ),
    ],
)
def test_what_is_no_dataset(read, content, problems):
    with pytest.raises(DataError) as caught:
        read(dict.fromkeys(content, b""))
    for problem in problems:
        assert problem in str(caught.value)
    assert "set" in str(caught.value)


def test_images_are_decoded_only_when_asked_for(read, png):
    parts = read({"a/1.png": b"damaged", "a/2.png": png(1), "b/1.png": png(2), "b/2.png": png(3)})
    everything = [parts.train, parts.test]
    with pytest.raises(DataError) as caught:
        [images.image(index) for images in everything for index in range(len(images))]
    text = str(caught.value)
    assert "a/1.png" in text and "/set" in text and "remove it" in text


def encoded(pixels: np.ndarray, mode: str, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


RANDOM = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


@pytest.mark.parametrize("kind", ["png", "bmp", "ppm", "tiff"])
def test_lossless_formats_come_back_exactly(kind):
    image = decode(encoded(RANDOM, "RGB", kind))
    assert image.dtype == torch.uint8
    assert np.array_equal(image.permute(1, 2, 0).numpy(), RANDOM)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("L", "png"), ("1", "png"), ("P", "png"), ("P", "gif"), ("RGBA", "png"), ("CMYK", "jpeg")],
)
def test_every_colour_mode_becomes_rgb(mode, kind):
    assert decode(encoded(RANDOM, mode, kind)).shape == (3, 5, 7)


def test_a_grey_image_has_three_equal_channels():
    red, green, blue = decode(encoded(RANDOM, "L", "png"))
    assert torch.equal(red, green) and torch.equal(red, blue)


def test_a_photo_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # held with its right side up
    turned = decode(encoded(RANDOM, "RGB", "png", exif=exif))
    assert np.array_equal(turned.permute(1, 2, 0).numpy(), np.rot90(RANDOM, k=-1))


@pytest.mark.parametrize("orientation", [None, 1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff"])
def test_the_size_in_the_header_is_that_of_the_upright_image(kind, orientation):
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    content = encoded(RANDOM, "RGB", kind, exif=exif)
    assert decoded_size(content) == tuple(decode(content).shape[1:])


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "tiff", "webp", "bmp"])
@pytest.mark.parametrize("part", [0, 0.3, 0.6])
def test_a_cut_file_is_refused(kind, part):
    large = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    content = encoded(large, "RGB", kind)
    with pytest.raises(ValueError, match=r"\w"):
        decode(content[: int(part * len(content))])
