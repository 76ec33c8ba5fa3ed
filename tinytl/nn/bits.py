"""Boolean masks stored as one bit per element."""

from collections.abc import Iterator

import torch
from torch import Tensor

_CHUNK = 1 << 18  # elements handled at a time, so that no temporary is larger than 2 MB
# Multiplying eight bytes of 0 or 1, read as one 64-bit integer, by this constant gathers them in
# the highest byte.
_GATHER = 0x0102040810204080


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
    """Packs a flat boolean mask [N] into uint8 [ceil(N / 8)]."""
    padding = -mask.numel() % 8
    if padding:
        mask = torch.cat([mask, mask.new_zeros(padding)])
    words = mask.view(torch.int64) * _GATHER
    return words.view(torch.uint8)[7::8]


def unpack(packed: Tensor, numel: int) -> Tensor:
    """Returns the boolean mask [numel] that `pack` packed."""
    values = _table(packed.device).index_select(0, packed.to(torch.int32))
    return values.view(torch.bool)[:numel]


_tables: dict[torch.device, Tensor] = {}


def _table(device: torch.device) -> Tensor:
    """Returns int64 [256]: the eight bytes that each packed byte stands for."""
    if device not in _tables:
        byte = torch.arange(256, dtype=torch.int64).unsqueeze(1)
        # `pack` puts the first of eight elements into the lowest bit
        bits = (byte >> torch.arange(8)) & 1
        _tables[device] = bits.to(torch.uint8).view(torch.int64).view(-1).to(device)
    return _tables[device]
