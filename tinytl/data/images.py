"""Labelled sets of images."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Images(Protocol):
    """A labelled set of images."""

    @property
    def labels(self) -> Tensor:
        """The class of each image, int64 [N]."""

    def __len__(self) -> int:
        """The number of images N."""

    def image(self, index: int) -> Tensor:
        """Returns one image, uint8 [3, H, W]; its size may differ from the others'.

        Raises:
            DataError: If the image cannot be read or decoded.
        """


@dataclass(frozen=True)
class Parts:
    """What a dataset comes as, before anything is held out.

    Attributes:
        classes: Names of the classes; a label is an index into it.
        train: The training images.
        validation: The images of the dataset's own validation split, None where it has none.
        test: The test images.
    """

    classes: tuple[str, ...]
    train: Images
    validation: Images | None
    test: Images


@dataclass(frozen=True)
class Splits:
    """A dataset as one run uses it.

    Attributes:
        name: The dataset's name.
        classes: Names of the classes; a label is an index into it.
        train: The images to train on.
        validation: Images held out of the training data; None if nothing is held out.
        test: The test images.
    """

    name: str
    classes: tuple[str, ...]
    train: Images
    validation: Images | None
    test: Images


@dataclass(frozen=True)
class ArrayImages:
    """Images of one size in memory.

    Attributes:
        pixels: uint8 [N, 3, H, W].
        labels: int64 [N].
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Tensor:
        """Returns one image, uint8 [3, H, W]."""
        return self.pixels[index]


class Subset:
    """Some images of a set, in the order of `indices` (int64 [M])."""

    def __init__(self, images: Images, indices: Tensor) -> None:
        self.images = images
        self.indices = indices
        self.labels = images.labels[indices]

    def __len__(self) -> int:
        return len(self.indices)

    def image(self, index: int) -> Tensor:
        """Returns one image, uint8 [3, H, W]."""
        return self.images.image(int(self.indices[index]))


class Joined:
    """The images of two sets, one set behind the other."""

    def __init__(self, first: Images, second: Images) -> None:
        self.first = first
        self.second = second
        self.labels = torch.cat([first.labels, second.labels])

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Tensor:
        """Returns one image, uint8 [3, H, W]."""
        if index < len(self.first):
            return self.first.image(index)
        return self.second.image(index - len(self.first))
