"""CIFAR-10 and CIFAR-100 in the binary release of their makers.

A record is one byte for each label, of which the last is the class, and 3,072 bytes for the image:
its red, green and blue plane of 32 x 32. The python release of the same images is a pickle, which
can run any code when it is loaded; it is not read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tinytl.data.images import ArrayImages, Parts
from tinytl.data.sources.files import Files
from tinytl.data.sources.folder import read_class_folders
from tinytl.errors import DataError

SHAPE = (3, 32, 32)
IMAGE_BYTES = 3 * 32 * 32


@dataclass(frozen=True)
class BinaryRelease:
    """A binary release.

    Attributes:
        archive: The name under which it can be downloaded.
        folder: The folder in that archive.
        train: Its files of training images.
        test: Its file of test images.
        classes: Its file of class names, one a line.
        label_bytes: Labels in front of each image.
        python_folder: The folder of the python release, which is refused.
    """

    archive: str
    folder: str
    train: tuple[str, ...]
    test: str
    classes: str
    label_bytes: int
    python_folder: str

    @property
    def files(self) -> tuple[str, ...]:
        """All the files that are read."""
        return (*self.train, self.test, self.classes)


CIFAR10 = BinaryRelease(
    archive="cifar-10-binary.tar.gz",
    folder="cifar-10-batches-bin",
    train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    test="test_batch.bin",
    classes="batches.meta.txt",
    label_bytes=1,
    python_folder="cifar-10-batches-py",
)
CIFAR100 = BinaryRelease(
    archive="cifar-100-binary.tar.gz",
    folder="cifar-100-binary",
    train=("train.bin",),
    test="test.bin",
    classes="fine_label_names.txt",
    label_bytes=2,
    python_folder="cifar-100-python",
)


def read_cifar(files: Files, release: BinaryRelease) -> Parts:
    """Reads the binary release, or class folders with the same images.

    Raises:
        DataError: If it is neither, is damaged, or is the python release.
    """
    location = files.location
    found = {name.rpartition("/")[2]: name for name in files.names}
    present = [name for name in release.files if name in found]
    if present:
        if missing := sorted(set(release.files) - set(present)):
            raise DataError(
                f"{location} lacks {', '.join(missing)} of the binary release; unpack all of "
                f"{release.archive} there"
            )
        return _read_binary(files, found, release)
    if release.python_folder in {location.name, *(f.rpartition("/")[2] for f in files.folders)}:
        raise DataError(
            f"{location} holds the python release ({release.python_folder}), a pickle, which could "
            f"run any code and is not loaded; take the binary release, {release.archive}, and "
            f"unpack it to {release.folder}/"
        )
    return read_class_folders(files)


def _read_binary(files: Files, found: dict[str, str], release: BinaryRelease) -> Parts:
    lines = files.read(found[release.classes]).decode(errors="replace").splitlines()
    classes = tuple(line.strip() for line in lines if line.strip())
    train = _read_records(files, [found[name] for name in release.train], release, len(classes))
    test = _read_records(files, [found[release.test]], release, len(classes))
    return Parts(classes, train, None, test)


def _read_records(
    files: Files, names: Sequence[str], release: BinaryRelease, classes: int
) -> ArrayImages:
    size = release.label_bytes + IMAGE_BYTES
    blocks = []
    for name in names:
        content = np.frombuffer(files.read(name), np.uint8)
        if len(content) == 0 or len(content) % size:
            raise DataError(
                f"{name} in {files.location} must be whole records of {size} bytes, but has "
                f"{len(content)} bytes; unpack {release.archive} anew"
            )
        block = content.reshape(-1, size)
        if (highest := int(block[:, release.label_bytes - 1].max())) >= classes:
            raise DataError(
                f"{name} in {files.location} has the label {highest}, but there are {classes} "
                f"classes; unpack {release.archive} anew"
            )
        blocks.append(block)
    records = torch.from_numpy(np.concatenate(blocks))
    return ArrayImages(
        pixels=records[:, release.label_bytes :].reshape(-1, *SHAPE),
        labels=records[:, release.label_bytes - 1].long(),
    )
