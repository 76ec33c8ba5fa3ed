"""Drop-in saving: a network's layers keep only what the needed gradients require."""

from dataclasses import dataclass

from torch import nn

from tinytl.nn.activation import SavingReLU, SavingReLU6
from tinytl.nn.conv import SavingConv2d, SavingWSConv2d, WSConv2d
from tinytl.nn.linear import SavingLinear
from tinytl.nn.norm import FrozenBatchNorm2d, SavingFrozenBatchNorm2d, SavingGroupNorm
from tinytl.nn.pooling import SavingAvgPool2d

# Exact types: a subclass may compute something else.
SAVING: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: SavingConv2d,
    WSConv2d: SavingWSConv2d,
    nn.Linear: SavingLinear,
    nn.GroupNorm: SavingGroupNorm,
    FrozenBatchNorm2d: SavingFrozenBatchNorm2d,
    nn.ReLU: SavingReLU,
    nn.ReLU6: SavingReLU6,
    nn.AvgPool2d: SavingAvgPool2d,
}


@dataclass(frozen=True)
class Conversion:
    """What `convert` did.

    Attributes:
        converted: Names of the modules that keep less now.
        kept: Names of the leaf modules left as they are, with the reason.
    """

    converted: tuple[str, ...]
    kept: dict[str, str]


def convert(network: nn.Module) -> Conversion:
    """Makes the layers of `network` keep only what the gradients need, in place.

    Parameters, buffers, names and results stay the same: each layer becomes its saving twin.
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
    return Conversion(tuple(converted), kept)


def _obstacle(module: nn.Module) -> str | None:
    if type(module) not in SAVING:
        return f"{type(module).__name__} has no saving twin"
    if isinstance(module, nn.Conv2d) and (
        module.padding_mode != "zeros" or isinstance(module.padding, str)
    ):
        return "its padding is not a number of zeros"
    if isinstance(module, (nn.GroupNorm, nn.BatchNorm2d)) and not module.affine:
        return "it has no scale and bias"
    if isinstance(module, nn.AvgPool2d) and not _tiles(module):
        return "its windows do not tile the input"
    return None


def _tiles(pool: nn.AvgPool2d) -> bool:
    square = isinstance(pool.kernel_size, int) and pool.stride == pool.kernel_size
    return square and not pool.padding and not pool.ceil_mode and pool.divisor_override is None
