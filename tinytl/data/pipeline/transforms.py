"""What happens to images on their way into the network, in training and in evaluation.

It happens in two steps. `crop` takes what is needed out of one image where that lies; it is cheap.
`fill` makes inputs of such crops on the device that trains: bytes, which the network normalizes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from tinytl.data.pipeline.crops import Crops
from tinytl.data.pipeline.jitter import Jitter
from tinytl.data.pipeline.resize import resize, with_short_side
from tinytl.data.sources.catalogue import DatasetInfo

EVALUATED_SHARE = 0.875
"""Side of the square that is evaluated, as a share of the image's short side."""


class Transform(Protocol):
    """Turns images into inputs; a pure function of an image and its number in the epoch."""

    @property
    def resolution(self) -> int:
        """Side R of the inputs."""

    def crop(self, image: Tensor, number: int) -> Tensor:
        """Returns what is needed of the image, uint8 [3, h, w], without a copy.

        Args:
            image: uint8 [3, H, W].
            number: Of the image in the epoch, counted from 0.
        """

    def fill(self, inputs: Tensor, crops: Sequence[Tensor], numbers: Tensor) -> None:
        """Makes inputs of the network.

        Args:
            inputs: Where they go, uint8 [N, 3, R, R].
            crops: N results of `crop`, on the same device.
            numbers: Their numbers, int64 [N], on the CPU.
        """


@dataclass(frozen=True)
class TrainingTransform:
    """A random crop, flip and colour jitter for each image of an epoch.

    Attributes:
        resolution: Side R of the inputs.
        crops: Where the images are cropped.
        flips: Which of the images are mirrored, bool [N]; None for none.
        jitter: How the colours are changed; None for not at all.
    """

    resolution: int
    crops: Crops
    flips: Tensor | None
    jitter: Jitter | None

    def crop(self, image: Tensor, number: int) -> Tensor:
        """Returns the image's crop, not resized yet."""
        height, width = image.shape[1:]
        top, left, box_height, box_width = self.crops.box(number, height, width)
        return image[:, top : top + box_height, left : left + box_width]

    def fill(self, inputs: Tensor, crops: Sequence[Tensor], numbers: Tensor) -> None:
        """Resizes, mirrors and changes colours."""
        images = [resize(crop, self.resolution, self.resolution) for crop in crops]
        if self.flips is not None:
            flips = self.flips[numbers].tolist()
            images = [i.flip(-1) if flip else i for i, flip in zip(images, flips, strict=True)]
        torch.stack(images, out=inputs)
        if self.jitter is not None:
            colours = inputs.float()
            self.jitter.apply(colours, numbers)
            inputs.copy_(colours.round_())


@dataclass(frozen=True)
class EvaluationTransform:
    """The paper's evaluation: short side to R / 0.875, centre crop.

    Attributes:
        resolution: Side R of the inputs.
    """

    resolution: int

    def crop(self, image: Tensor, number: int) -> Tensor:
        """Returns the whole image: what is cropped is the resized one."""
        return image

    def fill(self, inputs: Tensor, crops: Sequence[Tensor], numbers: Tensor) -> None:
        """Resizes and takes the middle."""
        torch.stack([self._middle(image) for image in crops], out=inputs)

    def _middle(self, image: Tensor) -> Tensor:
        side = int(self.resolution / EVALUATED_SHARE)
        height, width = with_short_side(image.shape[1], image.shape[2], side)
        top, left = (round((size - self.resolution) / 2) for size in (height, width))
        resized = resize(image, height, width)
        return resized[:, top : top + self.resolution, left : left + self.resolution]


def training_transform(
    info: DatasetInfo,
    resolution: int,
    *,
    count: int,
    generator: torch.Generator,
    crop_scale: float | None,
) -> TrainingTransform:
    """Draws everything that is random in an epoch, except for the order of its images.

    Args:
        info: The dataset, which says whether its images are mirrored and how colours are varied.
        resolution: Side R of the inputs.
        count: Images of the epoch.
        generator: Where the random numbers are from.
        crop_scale: Smallest area of a crop as a share of the image; None takes the dataset's own.
    """
    smallest_area = info.crop_scale if crop_scale is None else crop_scale
    crops = Crops.draw(count, smallest_area, generator)
    flips = torch.rand(count, generator=generator) < 0.5 if info.flip else None
    jitter = None
    if info.colour_jitter is not None:
        jitter = Jitter.draw(count, info.colour_jitter, generator)
    return TrainingTransform(resolution, crops, flips, jitter)
