"""Slabs of inverted bottlenecks whose convolutions are frozen, in C++ operators."""

from collections.abc import Iterator
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from tinytl.engine.planned.layers import ALL, SlabNorm, add_if_trained
from tinytl.engine.planned.native import operators
from tinytl.engine.planned.slabs import Slabs, Stage, Tiles

_KERNELS = (3, 5, 7)
_STRIDES = (1, 2)
_TOGETHER = 4  # images in a tile: enough for threads to share, and slabs of many channels


class NativeSlabs:
    """The same as the `Slabs` it is made of; a few channels at a time stay in a processor's cache.

    Args:
        slabs: That fit, see `of`.
    """

    def __init__(self, slabs: Slabs) -> None:
        self.slabs = slabs
        self.stages = slabs.expand, slabs.depthwise
        layer = slabs.depthwise.weight.layer
        self.geometry = int(layer.stride[0]), int(layer.padding[0])

    @classmethod
    def of(cls, slabs: Slabs) -> Self | None:
        """Returns slabs in C++; None if these do not fit, or this machine has no operators."""
        weights = slabs.expand.weight, slabs.depthwise.weight, slabs.projection
        layer = slabs.depthwise.weight.layer
        fits = (
            not any(weight.trained for weight in weights)
            and all(
                len(set(size)) == 1 for size in (layer.kernel_size, layer.stride, layer.padding)
            )
            and layer.kernel_size[0] in _KERNELS
            and layer.stride[0] in _STRIDES
            and int(layer.padding[0]) < layer.kernel_size[0]
            and layer.dilation == (1, 1)
            and layer.in_channels == layer.out_channels
        )
        return cls(slabs) if fits and operators() is not None else None

    def takes(self, input: Tensor) -> bool:
        """Returns whether the operators can compute this `input`."""
        return input.device.type == "cpu" and input.dtype in (torch.float32, torch.float64)

    def project(self, input: Tensor, tile_bytes: int) -> Tensor:
        """See `Slabs.project`."""
        pixels = self.slabs.expand.weight.output_size(input)
        filtered = self.slabs.depthwise.weight.output_size(input.new_empty(0, 0, *pixels))
        projection = input.new_zeros(
            len(input), self.slabs.projection.layer.out_channels, *filtered
        )
        copies = pixels[0] * pixels[1] + filtered[0] * filtered[1]
        tiles = self._tiles(input, copies, tile_bytes)
        for images in self._batches(tiles, len(input)):
            columns = self._columns(input[images])
            for _, arguments in self._arguments(tiles, tile_bytes):
                operators().branch_forward(projection[images], columns, *arguments)
        return projection

    def backward(
        self, input: Tensor, grad: Tensor, grad_input: Tensor | None, tile_bytes: int
    ) -> None:
        """See `Slabs.backward`."""
        if grad_input is not None and not self.slabs.expand.weight.pointwise:
            self.slabs.backward(input, grad, grad_input, tile_bytes)
            return
        height, width = self.slabs.expand.weight.output_size(input)
        filtered = grad.shape[2:].numel()
        copies = height * width + max(height * width, filtered) + filtered
        tiles = self._tiles(input, copies, tile_bytes)
        for images in self._batches(tiles, len(input)):
            columns = self._columns(input[images])
            of_input = None if grad_input is None else grad_input[images]
            for rows, arguments in self._arguments(tiles, tile_bytes):
                sums = input.new_zeros(len(columns), 2, 2, rows.stop - rows.start)
                operators().branch_backward(of_input, sums, grad[images], columns, *arguments)
                for stage, (of_bias, of_scale) in zip(self.stages, sums.sum(dim=0), strict=True):
                    add_if_trained(stage.norm.layer.bias, rows, of_bias)
                    add_if_trained(stage.norm.layer.weight, rows, of_scale)

    def _tiles(self, input: Tensor, copies: int, tile_bytes: int) -> Tiles:
        return Tiles.of(
            images=min(len(input), _TOGETHER),
            channels=self.slabs.channels,
            unit=self.slabs.unit,
            channel_bytes=copies * input.element_size(),
            bound=tile_bytes,
        )

    def _batches(self, tiles: Tiles, images: int) -> list[slice]:
        """Returns the images of one call; the operators cut them into tiles themselves."""
        return [ALL] if self.slabs.expand.weight.pointwise else tiles.batches(images)

    def _columns(self, input: Tensor) -> Tensor:
        """Returns what the expansion is a product of matrices with: its input, or patches of it."""
        weight = self.slabs.expand.weight
        if weight.pointwise:
            return input.contiguous()
        layer: Any = weight.layer
        patches = F.unfold(input, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
        return patches.unflatten(2, weight.output_size(input))

    def _arguments(self, tiles: Tiles, tile_bytes: int) -> Iterator[tuple[slice, tuple[Any, ...]]]:
        """Yields channels whose weights are dense at a time, and the operators' arguments."""
        slabs, size = self.slabs, tiles.slabs[0].stop
        weights = slabs.expand.weight, slabs.depthwise.weight, slabs.projection
        channel_bytes = sum(4 * weight.numel for weight in weights) // slabs.channels
        count = max(1, tile_bytes // (size * channel_bytes)) * size
        if slabs.expand.weight.held is not None:  # all are dense already
            count = slabs.channels
        for start in range(0, slabs.channels, count):
            rows = slice(start, min(start + count, slabs.channels))
            first, second = (_norm(stage, rows) for stage in self.stages)
            yield (
                rows,
                (
                    slabs.expand.weight.rows(rows).flatten(1),
                    first,
                    slabs.depthwise.weight.rows(rows),
                    second,
                    slabs.projection.columns(rows).contiguous(),
                    [stage.norm.per_group for stage in self.stages],
                    [stage.norm.layer.eps for stage in self.stages],
                    [_high(stage) for stage in self.stages],
                    *self.geometry,
                    tiles.images,
                    size,
                ),
            )


def _norm(stage: Stage, rows: slice) -> list[Tensor]:
    """Returns scale and bias, and mean and inverse deviation where they are fixed."""
    norm: SlabNorm = stage.norm
    statistics = norm.running(rows) if norm.fixed else (norm.layer.weight.new_empty(0),) * 2
    return [*norm.affine(rows), *statistics]


def _high(stage: Stage) -> float:
    high = stage.activation.high
    return float("inf") if high is None else high
