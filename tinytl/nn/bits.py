"""Masks stored as one bit per element.

A mask is given and returned as zeros and ones of a floating type: kernels for these are vectorized
on the CPU, those with a boolean result or operand are not.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

_CHUNK = 1 << 17  # elements handled at a time: they stay in the cache from one pass to the next


def chunks(numel: int) -> Iterator[slice]:
    """Yields slices that cover `numel` elements; every slice but the last holds whole bytes."""
    for start in range(0, numel, _CHUNK):
        yield slice(start, min(start + _CHUNK, numel))


def packed_slice(part: slice) -> slice:
    """Returns where the bits of the elements of `part` stand among the packed bytes."""
    return slice(part.start // 8, -(-part.stop // 8))


def empty_bits(numel: int, device: torch.device) -> Tensor:
    """Returns uninitialized room for `numel` bits: uint8 [ceil(numel / 8)]."""
    return torch.empty(-(-numel // 8), dtype=torch.uint8, device=device)


def pack(mask: Tensor) -> Tensor:
    """Packs a flat mask [N] of zeros and ones into uint8 [ceil(N / 8)].

    The first of eight elements becomes the lowest bit.
    """
    padding = -mask.numel() % 8
    if padding:
        mask = F.pad(mask, (0, padding))
    # sums of powers of two up to 255, exact in every floating type
    return torch.mv(mask.view(-1, 8), _constant(_powers, mask.device, mask.dtype)).to(torch.uint8)


def unpack(packed: Tensor, numel: int, dtype: torch.dtype) -> Tensor:
    """Returns the mask [numel], of this type, that `pack` packed."""
    rows = _constant(_table, packed.device, dtype).index_select(0, packed.to(torch.int32))
    return rows.view(-1)[:numel]


_constants: dict[tuple[Callable[[], Tensor], torch.device, torch.dtype], Tensor] = {}


def _constant(make: Callable[[], Tensor], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Returns what `make` makes, on this device and of this type; it is made once."""
    if (make, device, dtype) not in _constants:
        _constants[make, device, dtype] = make().to(device, dtype)
    return _constants[make, device, dtype]


def _powers() -> Tensor:
    """Returns what each of eight elements counts in a packed byte."""
    return 1 << torch.arange(8)


def _table() -> Tensor:
    """Returns the mask [256, 8] that each packed byte stands for."""
    return (torch.arange(256).unsqueeze(1) >> torch.arange(8)) & 1
