"""Runs a network on shapes alone: nothing is computed, and the network itself is left alone."""

import copy
from functools import lru_cache

import torch
from torch import Tensor, nn

from tinytl.backbones.base import BackboneInfo, Network
from tinytl.errors import ConfigError


def without_values(network: Network) -> Network:
    """Returns a copy of the network, in evaluation mode, whose tensors have shapes only."""
    return copy.deepcopy(network).to("meta").eval()


def run(shapes: Network, resolution: int) -> None:
    """Passes one image through what `without_values` returned, for the hooks put on it."""
    with torch.no_grad():
        shapes(torch.empty(1, 3, resolution, resolution, device="meta"))


@lru_cache
def count_blocks(backbone: BackboneInfo) -> int:
    """Returns how many blocks a backbone has.

    Raises:
        WeightsError: If the file that describes a specialized network is missing.
    """
    with torch.device("meta"):
        return len(backbone.build(backbone.norms[0], 1, 0.0).block_names)


def check_groups(network: Network, resolution: int) -> None:
    """Checks that every GroupNorm has something to normalize.

    Raises:
        ConfigError: If a group would hold a single value, which its own mean makes zero.
    """
    if not any(_one_channel(module) for module in network.modules()):
        return  # several channels are several values on any map
    shapes = without_values(network)
    names = {module: name for name, module in shapes.named_modules()}

    def check(module: nn.GroupNorm, inputs: tuple[Tensor]) -> None:
        if inputs[0].numel() == module.num_groups:
            raise ConfigError(
                f"resolution: at {resolution} pixels each group of {names[module]} would hold a "
                f"single value ({module.num_channels} channels in {module.num_groups} groups), "
                "which normalization makes zero; choose a larger resolution, or norm: bn_frozen"
            )

    for module in shapes.modules():
        if _one_channel(module):
            module.register_forward_pre_hook(check)
    run(shapes, resolution)


def _one_channel(module: nn.Module) -> bool:
    """Returns whether a module is a GroupNorm with a group for each channel."""
    return isinstance(module, nn.GroupNorm) and module.num_groups == module.num_channels
