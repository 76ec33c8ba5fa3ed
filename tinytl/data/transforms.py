"""What happens to an image on its way into the network, in training and in evaluation.

Mean and standard deviation belong to the weights, so they are asked for, never assumed.
"""

from collections.abc import Sequence

import torch
from torchvision.transforms import InterpolationMode, v2

from tinytl.data.datasets import DatasetInfo
from tinytl.data.images import Transform


def training_transform(
    info: DatasetInfo,
    resolution: int,
    *,
    crop_scale: float | None,
    mean: Sequence[float],
    std: Sequence[float],
) -> Transform:
    """Returns a random crop, flip and colour jitter as the dataset has them, and normalization.

    Args:
        info: The dataset.
        resolution: Side R of the float32 [3, R, R] that comes out.
        crop_scale: Smallest area of a crop as a share of the image; None takes the dataset's own.
        mean: Mean of each channel, for values in 0 to 1.
        std: Standard deviation of each channel.
    """
    scale = (info.crop_scale if crop_scale is None else crop_scale, 1.0)
    steps: list[Transform] = [v2.RandomResizedCrop(resolution, scale=scale, antialias=True)]
    if info.flip:
        steps.append(v2.RandomHorizontalFlip())
    if info.colour_jitter is not None:
        steps.append(v2.ColorJitter(*info.colour_jitter))
    return v2.Compose([*steps, *_normalization(mean, std)])


def evaluation_transform(
    resolution: int, *, mean: Sequence[float], std: Sequence[float]
) -> Transform:
    """Returns the paper's evaluation: short side to R / 0.875, centre crop, normalization.

    Args:
        resolution: Side R of the float32 [3, R, R] that comes out.
        mean: Mean of each channel, for values in 0 to 1.
        std: Standard deviation of each channel.
    """
    return v2.Compose(
        [
            v2.Resize(int(resolution / 0.875), InterpolationMode.BILINEAR, antialias=True),
            v2.CenterCrop(resolution),
            *_normalization(mean, std),
        ]
    )


def _normalization(mean: Sequence[float], std: Sequence[float]) -> list[Transform]:
    return [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(mean), list(std))]
