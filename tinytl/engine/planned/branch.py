"""A main branch computed a slab of its channels at a time, forward and backward.

Between its two 1x1 convolutions an inverted bottleneck treats every channel, and every group of a
GroupNorm, by itself: expansion, norm, activation, depthwise convolution, norm, activation. So a
slab of channels can go the whole way, up to its share of the projection, before the next one
starts, and the activations of one slab exist at a time. Nothing is approximated.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

from torch import Tensor

from tinytl.engine.planned.layers import ALL, Activation, SlabNorm, SlabWeight


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
    def of_channels(
        cls, *, images: int, channels: int, unit: int, channel_bytes: int, bound: int
    ) -> Self:
        """Returns tiles of about `bound` bytes: slabs of all images, or of fewer if need be.

        Args:
            images: In the batch.
            channels: Of the activations.
            unit: Channels that must stay together.
            channel_bytes: Of one channel of one image.
            bound: Bytes of a tile; a unit of one image may be more.
        """
        together = max(1, min(images, bound // (unit * channel_bytes)))
        count = max(1, bound // (together * unit * channel_bytes)) * unit
        starts = range(0, channels, count)
        return cls(together, tuple(slice(start, min(start + count, channels)) for start in starts))

    @classmethod
    def of_images(
        cls, *, images: int, channels: int, unit: int, channel_bytes: int, bound: int
    ) -> Self:
        """Returns tiles of whole images where one fits, else as `of_channels`."""
        fitting = bound // (channels * channel_bytes)
        if fitting:
            return cls(min(fitting, images), (slice(0, channels),))
        return cls.of_channels(
            images=images, channels=channels, unit=unit, channel_bytes=channel_bytes, bound=bound
        )

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
        output, of_norm = self.norm.forward(self.weight.forward(input, slab), slab)
        self.activation.forward_(output)
        return Kept(output, of_norm)

    def backward_(self, grad: Tensor, kept: Kept, slab: slice) -> Tensor:
        """Returns the gradient of the convolution's result; `grad` and `kept` are used up."""
        self.activation.backward_(grad, kept.output)
        del kept.output
        return self.norm.backward_(grad, kept.of_norm, slab)


class Branch:
    """The main branch of an inverted bottleneck.

    Args:
        layers: Convolution of one group, norm, activation, depthwise convolution, norm, activation,
            1x1 convolution, norm.
    """

    def __init__(self, layers: Sequence[Any]) -> None:
        self.expand, self.depthwise = Stage.of(*layers[:3]), Stage.of(*layers[3:6])
        self.project, self.norm = SlabWeight(layers[6]), SlabNorm(layers[7])
        self.channels: int = layers[3].out_channels
        self.unit = math.lcm(self.expand.norm.per_group, self.depthwise.norm.per_group)
        self.dense_bytes = 4 * max(self.expand.weight.numel, self.project.numel)
        self.parameters = [p for layer in layers for p in layer.parameters() if p.requires_grad]

    def tiles(self, input: Tensor, tile_bytes: int) -> Tiles:
        """Returns how the activations are cut for an `input` [N, C, H, W]."""
        height, width = self.expand.weight.output_size(input)
        # with whole images nothing is computed twice in a backward pass, but all weights are dense
        cut = Tiles.of_images if self.dense_bytes <= tile_bytes else Tiles.of_channels
        return cut(
            images=len(input),
            channels=self.channels,
            unit=self.unit,
            channel_bytes=height * width * input.element_size(),
            bound=tile_bytes,
        )

    def forward(self, input: Tensor, slabs: Sequence[slice]) -> Tensor:
        """Returns the branch's output [N, C', H', W'] for an `input` [N, C, H, W]."""
        projected, _ = self._projected(input, slabs)
        return self.norm.forward(projected, ALL)[0]

    def projection_gradient_(
        self, input: Tensor, grad: Tensor, slabs: Sequence[slice]
    ) -> tuple[Tensor, list[Kept]]:
        """Begins the backward pass with all that needs the whole gradient of the output.

        Args:
            input: Of `forward`.
            grad: Of its result; its memory becomes that of the gradient returned.
            slabs: Of channels.

        Returns:
            The gradient of the projection, and what the last slab keeps.
        """
        projected, kept = self._projected(input, slabs)
        _, of_norm = self.norm.forward(projected, ALL)
        del projected
        return self.norm.backward_(grad, of_norm, ALL), kept

    def backward(
        self,
        input: Tensor,
        grad: Tensor,
        kept: list[Kept],
        grad_input: Tensor | None,
        slabs: Sequence[slice],
    ) -> None:
        """Adds the gradients of the parameters up, and that of the input to `grad_input`, if any.

        Args:
            input: Of `forward`.
            grad: Of the projection.
            kept: By the last slab; it is used up.
            grad_input: None where it is not needed.
            slabs: Of channels.
        """
        for slab in reversed(slabs):
            kept = kept or self._hidden(input, slab)
            self._slab_backward(input, kept, grad, grad_input, slab)
        self.project.finish_project_gradient()

    def _projected(self, input: Tensor, slabs: Sequence[slice]) -> tuple[Tensor, list[Kept]]:
        """Returns the projection of all slabs, and what the last of them keeps."""
        total: Tensor | None = None
        kept: list[Kept] = []
        for slab in slabs:
            kept.clear()
            kept = self._hidden(input, slab)
            total = self.project.project_(total, kept[-1].output, slab)
        return cast("Tensor", total), kept

    def _hidden(self, input: Tensor, slab: slice) -> list[Kept]:
        first = self.expand.forward(input, slab)
        return [first, self.depthwise.forward(first.output, slab)]

    def _slab_backward(
        self,
        input: Tensor,
        kept: list[Kept],
        grad: Tensor,
        grad_input: Tensor | None,
        slab: slice,
    ) -> None:
        second, first = kept.pop(), kept.pop()
        self.project.add_project_gradient(second.output, grad, slab)
        grad = self.project.project_backward(grad, slab)
        grad = self.depthwise.backward_(grad, second, slab)
        del second
        self.depthwise.weight.add_gradient(first.output, grad, slab)
        grad = self.depthwise.weight.backward(grad, slab, first.output.shape)
        grad = self.expand.backward_(grad, first, slab)
        del first
        self.expand.weight.add_gradient(input, grad, slab)
        if grad_input is not None:
            self.expand.weight.backward_into_(grad_input, grad, slab)
