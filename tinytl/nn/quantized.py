"""Frozen layers whose weight is stored as codes and made dense where it is used, each time."""

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from tinytl.nn.codes import STORAGES, pack, unpack
from tinytl.nn.conv import SavingConv2d, SavingWSConv2d
from tinytl.nn.linear import SavingLinear
from tinytl.nn.weight_standardization import standardize


def dense(codes: Tensor, levels: Tensor, storage: str, bits: int, shape: torch.Size) -> Tensor:
    """Returns the weight of this shape that packed codes and levels stand for."""
    unpacked = unpack(codes, bits, shape.numel())
    return STORAGES[storage].dequantize(unpacked, levels, bits, shape)


class Quantized(nn.Module):
    """What the quantized layers have in common; `quantize` makes one of a saving layer.

    Instead of a weight they have the buffers `codes`, uint8 [ceil(N * bits / 8)] for a weight of N
    elements, and `codebook` [2**bits] (storage kmeans) or `scales` [out] (storage scale).

    Attributes:
        storage: How the weight is stored.
        bits: Of a code.
        shape: The weight's.
    """

    codes: Tensor
    storage: str
    bits: int
    shape: torch.Size

    def dense(self) -> Tensor:
        """Returns the weight; the layer keeps no reference to it."""
        function, *stored = self.weight_source()
        return function(*stored)

    @property
    def weight_shape(self) -> torch.Size:
        """The shape of the weight."""
        return self.shape

    def part(self, outputs: slice, inputs: slice) -> Tensor:
        """Returns the weight of some output and input channels."""
        codes = unpack(self.codes, self.bits, self.shape.numel()).view(self.shape)[outputs, inputs]
        levels = self.get_buffer(STORAGES[self.storage].levels)
        if self.storage == "scale":
            levels = levels[outputs]
        return STORAGES[self.storage].dequantize(codes.flatten(), levels, self.bits, codes.shape)

    def weight_source(self) -> tuple[Callable[..., Tensor], *tuple[Tensor, ...]]:
        """Returns a function that makes the weight, and its arguments."""
        levels = self.get_buffer(STORAGES[self.storage].levels)
        made = partial(dense, storage=self.storage, bits=self.bits, shape=self.shape)
        return made, self.codes, levels


class QuantizedConv2d(Quantized, SavingConv2d):
    """A convolution with a stored weight; if it was standardized, the weight is so already."""


class QuantizedLinear(Quantized, SavingLinear):
    """A linear layer with a stored weight."""


# Exact types, as in `tinytl.engine.convert`.
QUANTIZED: dict[type[nn.Module], type[Quantized]] = {
    SavingConv2d: QuantizedConv2d,
    SavingWSConv2d: QuantizedConv2d,
    SavingLinear: QuantizedLinear,
}


def used_weight(layer: nn.Module) -> Tensor:
    """Returns the weight with which a saving layer computes, which is a constant where frozen."""
    weight = layer.get_parameter("weight").detach()
    return standardize(weight) if isinstance(layer, SavingWSConv2d) else weight


def quantize(layer: nn.Module, storage: str, bits: int) -> Quantized | None:
    """Stores the weight of a saving layer as codes, in place: the layer becomes its quantized twin.

    Args:
        layer: Of a type in `QUANTIZED`.
        storage: A name in `STORAGES`.
        bits: Of a code, 2 to 8.

    Returns:
        The layer, or None where codes and levels would be no fewer bytes than the weight, and
        nothing was done.
    """
    weight = used_weight(layer)
    codes, levels = STORAGES[storage].quantize(weight, bits)
    packed = pack(codes, bits)
    if packed.nbytes + levels.nbytes >= weight.nbytes:
        return None
    layer.register_parameter("weight", None)
    layer.register_buffer("codes", packed)
    layer.register_buffer(STORAGES[storage].levels, levels)
    layer.__class__ = QUANTIZED[type(layer)]
    quantized = cast("Quantized", layer)
    quantized.storage, quantized.bits, quantized.shape = storage, bits, weight.shape
    return quantized
