"""Colour jitter of batches: brightness, contrast, saturation and hue as in torchvision.

Each function takes float images in 0 to 255, [N, 3, H, W], and a factor for each, [N]; it changes
the images in place.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_GREY = (0.2989, 0.587, 0.114)  # share of red, green and blue in the grey of a colour


@dataclass(frozen=True)
class Jitter:
    """The random numbers of the colour jitter of N images.

    Attributes:
        factors: Of brightness, contrast, saturation and hue, [N, 4].
        orders: In which order these four are changed, a permutation of 0 to 3 for each, [N, 4].
    """

    factors: Tensor
    orders: Tensor

    @classmethod
    def draw(cls, count: int, strengths: Sequence[float], generator: torch.Generator) -> "Jitter":
        """Draws for `count` images.

        Args:
            count: How many.
            strengths: How far the factors of brightness, contrast and saturation may be from 1, and
                that of hue from 0.
            generator: Where the random numbers are from.
        """
        strength, neutral = torch.tensor(strengths), torch.tensor([1.0, 1.0, 1.0, 0.0])
        low = neutral - strength
        low[:3].clamp_(min=0)
        high = neutral + strength
        factors = low + torch.rand(count, 4, generator=generator) * (high - low)
        return cls(factors, torch.rand(count, 4, generator=generator).argsort(1))

    def apply(self, images: Tensor, numbers: Tensor) -> None:
        """Changes images in place.

        Args:
            images: float32 [M, 3, H, W] in 0 to 255.
            numbers: Which of the N each of them is, int64 [M].
        """
        factors, orders = self.factors[numbers], self.orders[numbers]
        for changes in orders.unbind(1):
            for change, function in enumerate(_CHANGES):
                rows = (changes == change).nonzero().flatten()
                if len(rows):
                    values = factors[rows, change].to(images.device)
                    rows = rows.to(images.device)
                    images[rows] = function(images[rows], values)


def brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Multiplies the images by their factors."""
    return images.mul_(_each(factors)).clamp_(0, 255)


def contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Moves the images away from their mean grey, or towards it where the factor is below 1."""
    return _blend(images, _grey(images).mean((1, 2, 3), keepdim=True), factors)


def saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Moves the pixels away from their grey, or towards it where the factor is below 1."""
    return _blend(images, _grey(images), factors)


def hue(images: Tensor, factors: Tensor) -> Tensor:
    """Turns the colours by their factors, as shares of the whole circle."""
    red, green, blue = images.unbind(1)
    highest, lowest = images.amax(1), images.amin(1)
    chroma = highest - lowest
    divisor = chroma.clamp(min=1e-12)  # of a grey pixel, whose hue does not matter
    angle = torch.where(  # in sixths of the circle: red is 0, green 2, blue 4
        highest == red,
        (green - blue).div_(divisor),
        torch.where(
            highest == green,
            (blue - red).div_(divisor).add_(2),
            (red - green).div_(divisor).add_(4),
        ),
    )
    angle.add_(factors.view(-1, 1, 1), alpha=6).remainder_(6)
    # how much of the chroma a channel has is a trapezium over the circle
    images[:, 0] = (angle - 3).abs_().sub_(1).clamp_(0, 1).mul_(chroma).add_(lowest)
    images[:, 1] = (angle - 2).abs_().sub_(2).neg_().clamp_(0, 1).mul_(chroma).add_(lowest)
    images[:, 2] = (angle - 4).abs_().sub_(2).neg_().clamp_(0, 1).mul_(chroma).add_(lowest)
    return images


_CHANGES = (brightness, contrast, saturation, hue)


def _each(factors: Tensor) -> Tensor:
    return factors.view(-1, 1, 1, 1)


def _grey(images: Tensor) -> Tensor:
    red, green, blue = images.split(1, dim=1)
    return (red * _GREY[0]).add_(green, alpha=_GREY[1]).add_(blue, alpha=_GREY[2])


def _blend(images: Tensor, others: Tensor, factors: Tensor) -> Tensor:
    """Returns the images times their factors, and the others times what is left to 1."""
    return images.mul_(_each(factors)).add_(others * (1 - _each(factors))).clamp_(0, 255)
