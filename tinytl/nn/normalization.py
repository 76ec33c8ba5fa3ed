"""Normalization of the images that a network is given."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class InputNormalization(nn.Module):
    """Brings the channels of images to mean 0 and deviation 1.

    Batches stay bytes until here, a quarter of the memory of float32.

    Args:
        mean: Mean of each channel, for values in 0 to 1.
        std: Standard deviation of each channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        # which numbers they are belongs to the weights' description, not to their state
        for name, numbers in (("mean", mean), ("std", std)):
            values = torch.tensor(numbers).mul_(255).view(3, 1, 1)
            self.register_buffer(name, values, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Returns uint8 images [N, 3, H, W] normalized; others are taken to be that already."""
        if images.dtype != torch.uint8:
            return images
        return images.to(self.mean.dtype).sub_(self.mean).div_(self.std)
