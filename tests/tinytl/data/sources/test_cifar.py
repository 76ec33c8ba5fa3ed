import numpy as np
import pytest

from tests.official import CIFAR_CLASSES, cifar, cifar_records
from tinytl.data.sources.cifar import CIFAR10, CIFAR100, BinaryRelease, read_cifar
from tinytl.data.sources.files import open_files
from tinytl.errors import DataError


def binary(release: BinaryRelease, base: str) -> dict[str, bytes]:
    """The files of a release, below another folder than that of the archive."""
    (content,) = cifar(release).values()
    return {base + name.removeprefix(f"{release.folder}/"): data for name, data in content.items()}


@pytest.mark.parametrize("release", [CIFAR10, CIFAR100], ids=["cifar10", "cifar100"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_the_binary_release(write, release, wrapped):
    base = f"{release.folder}/" if wrapped else ""
    parts = read_cifar(open_files(write("cifar", binary(release, base))), release)
    assert parts.classes == CIFAR_CLASSES
    assert parts.train.labels.tolist() == [0, 1] * len(release.train)
    assert parts.test.labels.tolist() == [2, 1, 0]
    assert parts.validation is None
    for images, labels, seed in ((parts.train, [0, 1], 0), (parts.test, [2, 1, 0], 99)):
        _, pixels = cifar_records(release, labels, seed)
        for index, expected in enumerate(pixels):
            assert np.array_equal(images.image(index).numpy(), expected)


def test_class_folders_are_read_too(write, class_folders):
    content = class_folders("train/", a=2, b=2) | class_folders("test/", a=1, b=1)
    parts = read_cifar(open_files(write("cifar10", content)), CIFAR10)
    assert (parts.classes, len(parts.train), len(parts.test)) == (("a", "b"), 4, 2)


@pytest.mark.parametrize(
    "content",
    [
        {"cifar-10-batches-py/data_batch_1": b"x"},
        {"cifar10/cifar-10-batches-py/data_batch_1": b"x"},
    ],
)
def test_the_python_release_is_refused(write, content):
    with pytest.raises(DataError, match=r"pickle, .*take the binary release, cifar-10-binary"):
        read_cifar(open_files(write("cifar", content)), CIFAR10)


def test_the_python_release_itself_is_refused(write_folder):
    with pytest.raises(DataError, match="pickle"):
        read_cifar(open_files(write_folder("cifar-10-batches-py", {"data_batch_1": b"x"})), CIFAR10)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"data_batch_3.bin": None}, r"lacks data_batch_3\.bin of the binary release"),
        ({"test_batch.bin": b"x" * 3074}, r"test_batch\.bin in .* 3073 bytes, but has 3074 bytes"),
        ({"data_batch_2.bin": b""}, r"data_batch_2\.bin in .* but has 0 bytes"),
        ({"data_batch_1.bin": b"\3" * 3073}, r"data_batch_1\.bin .* label 3, but there are 3 cl"),
    ],
)
def test_a_damaged_release(write, change, problem):
    changed = binary(CIFAR10, "") | change
    content = {name: data for name, data in changed.items() if data is not None}
    with pytest.raises(DataError, match=problem):
        read_cifar(open_files(write("cifar", content)), CIFAR10)
