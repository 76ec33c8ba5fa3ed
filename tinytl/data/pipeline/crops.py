"""Random resized crops: the boxes of an epoch, as torchvision's `RandomResizedCrop` draws them."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

_ATTEMPTS = 10
_LOW_RATIO, _HIGH_RATIO = 3 / 4, 4 / 3

Box = tuple[int, int, int, int]
"""Top, left, height and width."""

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Crops:
    """The random numbers of N crops, drawn before the sizes of their images are known.

    Attributes:
        areas: Share of the image, for each attempt, [N, 10].
        ratios: Width over height, for each attempt, [N, 10].
        places: Where the box is in the room that it leaves, from top and left, in [0, 1), [N, 2].
    """

    areas: FloatArray
    ratios: FloatArray
    places: FloatArray

    @classmethod
    def draw(cls, count: int, smallest_area: float, generator: torch.Generator) -> "Crops":
        """Draws `count` crops whose area is at least the given share of the image."""
        areas = torch.empty(count, _ATTEMPTS).uniform_(smallest_area, 1.0, generator=generator)
        low, high = math.log(_LOW_RATIO), math.log(_HIGH_RATIO)
        ratios = torch.empty(count, _ATTEMPTS).uniform_(low, high, generator=generator).exp_()
        places = torch.rand(count, 2, generator=generator)
        # NumPy's, for threads that read single elements of tensors wait for each other
        return cls(areas.numpy(), ratios.numpy(), places.numpy())

    def box(self, number: int, height: int, width: int) -> Box:
        """Returns the box of one crop in an image of the given size.

        It is the first attempt that fits into the image; where none does, the largest box in the
        middle whose ratio is allowed.
        """
        top_share, left_share = self.places[number].tolist()
        attempts = zip(self.areas[number].tolist(), self.ratios[number].tolist(), strict=True)
        for area, ratio in attempts:
            box_width = round(math.sqrt(area * height * width * ratio))
            box_height = round(math.sqrt(area * height * width / ratio))
            if 0 < box_width <= width and 0 < box_height <= height:
                top = int(top_share * (height - box_height + 1))
                left = int(left_share * (width - box_width + 1))
                return top, left, box_height, box_width
        return _middle_box(height, width)


def _middle_box(height: int, width: int) -> Box:
    box_height, box_width = height, width
    if width < _LOW_RATIO * height:
        box_height = round(width / _LOW_RATIO)
    elif width > _HIGH_RATIO * height:
        box_width = round(height * _HIGH_RATIO)
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width
