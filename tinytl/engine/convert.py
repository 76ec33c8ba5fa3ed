"""Drop-in saving: a network's layers keep only what the needed gradients require."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from torch import nn
from torch.nn.modules.utils import _pair

from tinytl.nn.activation import SavingReLU, SavingReLU6
from tinytl.nn.conv import SavingConv2d, SavingWSConv2d, WSConv2d, fold
from tinytl.nn.linear import SavingLinear
from tinytl.nn.norm import (
    FrozenBatchNorm2d,
    SavingBatchNorm2d,
    SavingFrozenBatchNorm2d,
    SavingGroupNorm,
)
from tinytl.nn.partial import PartialConv2d, SavingPartialConv2d
from tinytl.nn.pooling import SavingAvgPool2d, SavingMaxPool2d

# Exact types: a subclass may compute something else.
SAVING: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: SavingConv2d,
    WSConv2d: SavingWSConv2d,
    PartialConv2d: SavingPartialConv2d,
    nn.Linear: SavingLinear,
    nn.GroupNorm: SavingGroupNorm,
    nn.BatchNorm2d: SavingBatchNorm2d,
    FrozenBatchNorm2d: SavingFrozenBatchNorm2d,
    nn.ReLU: SavingReLU,
    nn.ReLU6: SavingReLU6,
    nn.AvgPool2d: SavingAvgPool2d,
    nn.MaxPool2d: SavingMaxPool2d,
}


@dataclass(frozen=True)
class Conversion:
    """What `convert` did.

    Attributes:
        converted: Names of the modules that keep less now.
        kept: Names of the leaf modules left as they are, with the reason.
        folded: Names of the BatchNorms that the convolutions in front of them compute now.
        not_folded: Names of the other BatchNorms that were converted, with the reason.
    """

    converted: tuple[str, ...]
    kept: dict[str, str]
    folded: tuple[str, ...]
    not_folded: dict[str, str]


def convert(network: nn.Module) -> Conversion:
    """Makes the layers of `network` keep only what the gradients need, in place.

    Parameters, buffers, names and results stay the same: each layer becomes its saving twin. Then
    BatchNorms with frozen statistics are folded into the convolutions in front of them
    (`tinytl.nn.conv.fold`), where both stand in a `Sequential` and neither scale nor weight is
    trained.

    Args:
        network: With its trained parameters marked: only the folding depends on it.
    """
    converted, kept = [], {}
    for name, module in network.named_modules():
        if next(module.children(), None) is not None:
            continue
        reason = _obstacle(module)
        if reason:
            kept[name] = reason
        else:
            module.__class__ = SAVING[type(module)]
            converted.append(name)
    folded, not_folded = _fold_norms(network)
    return Conversion(tuple(converted), kept, folded, not_folded)


def _obstacle(module: nn.Module) -> str | None:
    if type(module) not in SAVING:
        return f"{type(module).__name__} has no saving twin"
    if isinstance(module, nn.Conv2d) and (
        module.padding_mode != "zeros" or isinstance(module.padding, str)
    ):
        return "its padding is not a number of zeros"
    if isinstance(module, nn.GroupNorm) and not module.affine:
        return "it has no scale and bias"
    if isinstance(module, nn.AvgPool2d) and not _tiles(module):
        return "its windows do not tile the input"
    if isinstance(module, nn.MaxPool2d):
        return _max_pool_obstacle(module)
    return None


def _max_pool_obstacle(pool: nn.MaxPool2d) -> str | None:
    if pool.return_indices:
        return "it returns indices"
    if _pair(pool.dilation) != (1, 1):
        return "its windows are dilated"
    if math.prod(_pair(pool.kernel_size)) > 256:
        return "a place in its windows does not fit into a byte"
    return None


def _tiles(pool: nn.AvgPool2d) -> bool:
    square = isinstance(pool.kernel_size, int) and pool.stride == pool.kernel_size
    return square and not pool.padding and not pool.ceil_mode and pool.divisor_override is None


def _fold_norms(network: nn.Module) -> tuple[tuple[str, ...], dict[str, str]]:
    """Folds what can be folded; returns the norms' names, and the reason for each of the others."""
    uses = Counter(module for _, module in network.named_modules(remove_duplicate=False))
    in_front = dict(_neighbours(network))
    folded, reasons = [], {}
    for name, norm in network.named_modules():
        if not isinstance(norm, SavingBatchNorm2d):
            continue
        convolution = in_front.get(norm)
        if isinstance(convolution, PartialConv2d):
            reasons[name] = "the weight of the convolution in front of it is trained in part"
        elif type(convolution) is not SavingConv2d:
            reasons[name] = "no convolution stands directly in front of it in a Sequential"
        elif uses[convolution] > 1 or uses[norm] > 1:
            reasons[name] = "it or the convolution in front of it is used in several places"
        elif norm.trains_scale:
            reasons[name] = "its scale is trained"
        elif convolution.trains_weight:
            reasons[name] = "the weight of the convolution in front of it is trained"
        else:
            fold(convolution, norm)
            folded.append(name)
    return tuple(folded), reasons


def _neighbours(network: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Yields modules that run one directly after the other: the later one, and the earlier."""
    for module in network.modules():
        if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
            yield from ((second, first) for first, second in pairwise(module))
