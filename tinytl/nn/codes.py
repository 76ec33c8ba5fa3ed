"""Weights as codes of 2 to 8 bits, and the numbers that give the codes their values."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tinytl.nn.bits import chunks

_ITERATIONS = 50
# quantiles from which the first codebook is made, for each of its entries
_QUANTILES = 16


def pack(codes: Tensor, bits: int) -> Tensor:
    """Packs flat codes below 2**bits, uint8 [N], one after the other: uint8 [ceil(N * bits / 8)].

    The lowest bits of the first byte are the first code.
    """
    padding = -codes.numel() % 8
    eights = torch.cat([codes, codes.new_zeros(padding)]).view(-1, 8).long()
    # eight codes are one 64-bit integer of which `bits` bytes are used
    words = (eights << bits * torch.arange(8, device=codes.device)).sum(dim=1)
    packed = words.view(torch.uint8).view(-1, 8)[:, :bits].reshape(-1)
    return packed[: -(-codes.numel() * bits // 8)].clone()


def unpack(packed: Tensor, bits: int, numel: int) -> Tensor:
    """Returns the codes, uint8 [numel], that `pack` packed; with 8 bits `packed` itself."""
    if bits == 8:
        return packed
    whole = 8 % bits == 0  # then no code lies in two bytes
    words, per_word = (packed, 8 // bits) if whole else (_words(packed, bits), 8)
    codes = torch.empty(words.numel(), per_word, dtype=torch.uint8, device=packed.device)
    for index in range(per_word):
        codes[:, index] = (words >> bits * index) & (2**bits - 1)
    return codes.view(-1)[:numel]


def _words(packed: Tensor, bits: int) -> Tensor:
    """Returns a 64-bit integer for each eight codes."""
    used = F.pad(packed, (0, -packed.numel() % bits)).view(-1, bits)
    return F.pad(used, (0, 8 - bits)).view(torch.int64).view(-1)


@dataclass(frozen=True)
class Storage:
    """A way to store a weight.

    Attributes:
        levels: What the numbers that give the codes their values are called.
        quantize: Returns codes, uint8 [N], and levels for a weight of N elements and the bits.
        dequantize: Returns the weight for codes, levels, bits and the weight's shape.
    """

    levels: str
    quantize: Callable[[Tensor, int], tuple[Tensor, Tensor]]
    dequantize: Callable[[Tensor, Tensor, int, torch.Size], Tensor]


def _to_codebook(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """k-means in one dimension: the codebook has 2**bits entries in ascending order."""
    codebook = _kmeans(weight.flatten().sort().values, 2**bits).to(weight.dtype)
    codes = torch.bucketize(weight.flatten(), _midpoints(codebook), out_int32=True, right=True)
    return codes.to(torch.uint8), codebook


def _from_codebook(codes: Tensor, codebook: Tensor, bits: int, shape: torch.Size) -> Tensor:
    weight = codebook.new_empty(shape)
    for part in chunks(codes.numel()):  # an index takes 4 bytes
        torch.index_select(codebook, 0, codes[part].int(), out=weight.view(-1)[part])
    return weight


def _kmeans(values: Tensor, entries: int) -> Tensor:
    """Returns the centroids, float64 [entries], of sorted `values` by Lloyd's iteration.

    Sorted, the values nearest to a centroid are a slice whose sum is a difference of two running
    sums, so that an iteration costs the same for any number of values.
    """
    distinct = values.unique_consecutive()
    if distinct.numel() <= entries:
        surplus = distinct[-1:].expand(entries - distinct.numel())
        return torch.cat([distinct, surplus]).double()
    sums = F.pad(values.double().cumsum(0), (1, 0))
    ends = torch.tensor([0, values.numel()], device=values.device)
    centroids = _first_centroids(values, entries)
    for _ in range(_ITERATIONS):
        inner = torch.searchsorted(values, _midpoints(centroids).to(values.dtype))
        borders = torch.cat([ends[:1], inner, ends[1:]])
        counts = borders.diff()
        means = sums[borders].diff() / counts
        means = torch.where(counts > 0, means, centroids)
        if torch.equal(means, centroids):
            break
        centroids = means
    return centroids


def _first_centroids(values: Tensor, entries: int) -> Tensor:
    """Returns as many centroids as suit the values' density.

    The error is least where centroids are as dense as the cube root of the values' density, which
    makes each span between two quantiles worth its length to the power of 2/3.
    """
    spans = min(_QUANTILES * entries, values.numel() - 1)
    places = torch.linspace(0, values.numel() - 1, spans + 1, dtype=torch.float64)
    quantiles = values[places.round().long().to(values.device)].double()
    worth = F.pad(quantiles.diff().pow(2 / 3).cumsum(0), (1, 0))
    steps = torch.arange(entries, dtype=torch.float64, device=values.device) + 0.5
    wanted = worth[-1] * steps / entries
    right = torch.searchsorted(worth, wanted).clamp(1, spans)
    share = (wanted - worth[right - 1]) / worth.diff()[right - 1]
    return torch.lerp(quantiles[right - 1], quantiles[right], share)


def _midpoints(ascending: Tensor) -> Tensor:
    return (ascending[1:] + ascending[:-1]) / 2


def _to_scales(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Whole multiples of a scale per output channel, as many below zero as above."""
    largest = _largest(bits)
    channels = weight.flatten(1)
    scales = channels.abs().amax(dim=1) / largest
    steps = channels / torch.where(scales == 0, 1, scales).unsqueeze(1)
    return (steps.round() + largest).to(torch.uint8).flatten(), scales


def _from_scales(codes: Tensor, scales: Tensor, bits: int, shape: torch.Size) -> Tensor:
    steps = codes.view(shape[0], -1).to(scales.dtype)
    return steps.sub_(_largest(bits)).mul_(scales.unsqueeze(1)).view(shape)


def _largest(bits: int) -> int:
    return 2 ** (bits - 1) - 1


# by the name in configurations
STORAGES = {
    "kmeans": Storage("codebook", _to_codebook, _from_codebook),
    "scale": Storage("scales", _to_scales, _from_scales),
}
