"""Sparse update (MCUNetV3; Lin et al., NeurIPS 2022): biases and parts of weights near the output.

Trained are the classifier, all biases from the first of the last blocks on, and in each of these
blocks the weight of one convolution, for some of its input channels. The backward pass ends there.
The published schemes are searched for layer by layer; here one number of blocks and one share hold
for all, so that a sweep can search them.
"""

from collections.abc import Iterator

import torch
from torch import nn

from tinytl.backbones import Network
from tinytl.config import SparseUpdateConfig
from tinytl.errors import ConfigError
from tinytl.methods.base import Method
from tinytl.nn.partial import split


def choose(network: Network, config: SparseUpdateConfig) -> tuple[nn.Parameter, ...]:
    """Splits the weights of which a part is trained; returns all that is, but the classifier.

    Raises:
        ConfigError: If the network has fewer blocks than are to be updated.
    """
    count = len(network.block_names)
    if config.blocks > count:
        raise ConfigError(
            too_many_blocks("sparse_update.blocks", "the network", count, config.blocks)
        )
    names = network.block_names[count - config.blocks :]
    biases = tuple(_biases_from(names[0], network))
    return biases + tuple(
        trained_part(convolution, config.ratio)
        for name in names
        if (convolution := first_convolution(network.get_submodule(name))) is not None
    )


def too_many_blocks(path: str, whose: str, count: int, found: int) -> str:
    """Returns the sentence for more blocks to be updated than there are."""
    return f"{path}: {whose} has {count} blocks, but got {found}"


def first_convolution(block: nn.Module) -> nn.Conv2d | None:
    """Returns the block's first convolution that has neither groups nor a bias, if it has one.

    That is the 1x1 expansion of an inverted bottleneck, the projection of one that has none, and
    the first convolution of other blocks, 1x1 or not. Those of squeeze-and-excitation have biases.
    """
    for module in block.modules():
        if isinstance(module, nn.Conv2d) and module.groups == 1 and module.bias is None:
            return module
    return None


def trained_part(convolution: nn.Conv2d, ratio: float) -> nn.Parameter:
    """Returns the weight of the share of its input channels in which it is the largest."""
    weight = convolution.get_parameter("weight")
    count = max(1, int(ratio * convolution.in_channels))
    if count == convolution.in_channels:
        return weight
    norms = torch.linalg.vector_norm(weight.detach(), dim=(0, 2, 3))
    return split(convolution, norms.argsort(descending=True, stable=True)[:count])


def _biases_from(block: str, network: Network) -> Iterator[nn.Parameter]:
    """Yields the biases of a block and of all that is defined behind it."""
    found = False
    for name, module in network.named_modules():
        found = found or name == block
        bias = getattr(module, "bias", None)
        if found and isinstance(bias, nn.Parameter):
            yield bias


METHOD = Method(
    "sparse-update",
    "Sparse update",
    trains=lambda role: role.chosen or role.classifier,
    uses_sparse_update=True,
    prepare=choose,
    unplanned="it has no layers that are trained in part; choose execution: saving",
)
