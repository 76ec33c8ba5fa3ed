"""The channels between the two 1x1 convolutions of an inverted bottleneck, a slab at a time.

There a bottleneck treats every channel, and every group of a GroupNorm, by itself: expansion, norm,
activation, depthwise convolution, norm, activation. So a slab of channels can go the whole way, up
to its share of the projection, before the next one starts, and the activations of one slab exist
at a time. Nothing is approximated.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

from torch import Tensor

from tinytl.engine.planned.layers import Activation, SlabNorm, SlabWeight


@dataclass(frozen=True)
class Tiles:
    """How the activations of a batch are cut.

    Attributes:
        images: At a time.
        slabs: Of channels, for each of these.
    """

    images: int
    slabs: tuple[slice, ...]

    @classmethod
    def of(cls, *, images: int, channels: int, unit: int, channel_bytes: int, bound: int) -> Self:
        """Returns tiles of about `bound` bytes: slabs of all images, or of fewer if need be.

        Args:
            images: In the batch.
            channels: Of the activations.
            unit: Channels that must stay together.
            channel_bytes: Of what exists at a time for one channel of one image.
            bound: Bytes of a tile; a unit of one image may be more.
        """
        together = max(1, min(images, bound // (unit * channel_bytes)))
        count = max(1, bound // (together * unit * channel_bytes)) * unit
        starts = range(0, channels, count)
        return cls(together, tuple(slice(start, min(start + count, channels)) for start in starts))

    def batches(self, images: int) -> list[slice]:
        """Returns the images that are computed together."""
        return [slice(start, start + self.images) for start in range(0, images, self.images)]


@dataclass
class Kept:
    """What a stage keeps of a slab.

    Attributes:
        output: The activations.
        of_norm: What the norm's gradient needs.
    """

    output: Tensor
    of_norm: tuple[Tensor, ...]


@dataclass
class Stage:
    """A convolution, its norm and its activation."""

    weight: SlabWeight
    norm: SlabNorm
    activation: Activation

    @classmethod
    def of(cls, convolution: Any, norm: Any, activation: Any) -> Self:
        """Returns the stage of three layers."""
        return cls(SlabWeight(convolution), SlabNorm(norm), Activation(activation))

    def forward(self, input: Tensor, slab: slice) -> Kept:
        """Returns the slab's activations, and what `backward` needs."""
        return self.activate(self.weight.forward(input, slab), slab)

    def activate(self, convolved: Tensor, slab: slice) -> Kept:
        """Does what comes behind the convolution."""
        output, of_norm = self.norm.forward(convolved, slab)
        self.activation.forward_(output)
        return Kept(output, of_norm)

    def backward_(self, grad: Tensor, kept: Kept, slab: slice) -> Tensor:
        """Returns the gradient of the convolution's result; `grad` and `kept` are used up."""
        self.activation.backward_(grad, kept.output)
        del kept.output
        return self.norm.backward_(grad, kept.of_norm, slab)


class Slabs:
    """Expansion to projection in PyTorch's operators, on any device, whatever is trained.

    Args:
        layers: Convolution of one group, norm, activation, depthwise convolution, norm, activation,
            1x1 convolution.
    """

    def __init__(self, layers: Sequence[Any]) -> None:
        self.expand, self.depthwise = Stage.of(*layers[:3]), Stage.of(*layers[3:6])
        self.projection = SlabWeight(layers[6])
        self.channels: int = layers[3].out_channels
        self.unit = math.lcm(self.expand.norm.per_group, self.depthwise.norm.per_group)

    def project(self, input: Tensor, tile_bytes: int) -> Tensor:
        """Returns the projection [N, C', H', W'], which its norm comes behind.

        Args:
            input: Of the expansion, [N, C, H, W].
            tile_bytes: Of the activations that exist at a time.
        """
        tiles = self._tiles(input, tile_bytes)
        batches = tiles.batches(len(input))
        return joined((self._projected(input[b], tiles.slabs) for b in batches), len(input))

    def backward(
        self, input: Tensor, grad: Tensor, grad_input: Tensor | None, tile_bytes: int
    ) -> None:
        """Adds the gradients of the parameters up, and that of the input to `grad_input`, if any.

        Args:
            input: Of the expansion.
            grad: Of the projection.
            grad_input: None where it is not needed.
            tile_bytes: Of the activations that exist at a time.
        """
        tiles = self._tiles(input, tile_bytes)
        for images in tiles.batches(len(input)):
            part = None if grad_input is None else grad_input[images]
            for slab in tiles.slabs:
                self._slab_backward(input[images], grad[images], part, slab)
            self.projection.finish_project_gradient()

    def _tiles(self, input: Tensor, tile_bytes: int) -> Tiles:
        height, width = self.expand.weight.output_size(input)
        return Tiles.of(
            images=len(input),
            channels=self.channels,
            unit=self.unit,
            channel_bytes=height * width * input.element_size(),
            bound=tile_bytes,
        )

    def _projected(self, input: Tensor, slabs: Sequence[slice]) -> Tensor:
        total: Tensor | None = None
        for slab in slabs:
            _, second = self._hidden(input, slab)
            total = self.projection.project_(total, second.output, slab)
        return cast("Tensor", total)

    def _hidden(self, input: Tensor, slab: slice) -> list[Kept]:
        first = self.expand.forward(input, slab)
        return [first, self.depthwise.forward(first.output, slab)]

    def _slab_backward(
        self, input: Tensor, grad: Tensor, grad_input: Tensor | None, slab: slice
    ) -> None:
        first, second = self._hidden(input, slab)
        self.projection.add_project_gradient(second.output, grad, slab)
        grad = self.projection.project_backward(grad, slab)
        grad = self.depthwise.backward_(grad, second, slab)
        del second
        self.depthwise.weight.add_gradient(first.output, grad, slab)
        grad = self.depthwise.weight.backward(grad, slab, first.output.shape)
        grad = self.expand.backward_(grad, first, slab)
        del first
        self.expand.weight.add_gradient(input, grad, slab)
        if grad_input is not None:
            self.expand.weight.backward_into_(grad_input, grad, slab)


def joined(parts: Iterable[Tensor], images: int) -> Tensor:
    """Returns the parts of a batch of so many images as one tensor; what is whole is not copied."""
    whole: Tensor | None = None
    done = 0
    for part in parts:
        if len(part) == images:
            return part
        if whole is None:
            whole = part.new_empty(images, *part.shape[1:])
        whole[done : done + len(part)] = part
        done += len(part)
        del part  # before the next one is computed
    return cast("Tensor", whole)
