"""The main branch of an inverted bottleneck."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from tinytl.engine.planned.layers import ALL, SlabNorm
from tinytl.engine.planned.native.slabs import NativeSlabs
from tinytl.engine.planned.slabs import Slabs


class Branch:
    """Expansion, depthwise convolution, projection and the norm behind it.

    Args:
        layers: Convolution of one group, norm, activation, depthwise convolution, norm, activation,
            1x1 convolution, norm.
    """

    def __init__(self, layers: Sequence[Any]) -> None:
        self.layers = tuple(layers)
        self.slabs = Slabs(layers[:-1])
        self.native = NativeSlabs.of(self.slabs)
        self.norm = SlabNorm(layers[-1])
        slabs = self.slabs
        self.weights = slabs.expand.weight, slabs.depthwise.weight, slabs.projection
        self.parameters = [p for layer in layers for p in layer.parameters() if p.requires_grad]

    def forward(self, input: Tensor, tile_bytes: int) -> tuple[Tensor, list[Tensor]]:
        """Returns the output [N, C', H', W'] for an `input` [N, C, H, W], and what its norm keeps.

        Args:
            input: Of the expansion.
            tile_bytes: Of the activations that exist at a time.
        """
        output, of_norm = self.norm.forward(self._slabs(input).project(input, tile_bytes), ALL)
        return output, [*of_norm]

    def backward(
        self,
        input: Tensor,
        of_norm: list[Tensor],
        grad: Tensor,
        grad_input: Tensor | None,
        tile_bytes: int,
    ) -> None:
        """Adds the gradients of the parameters up, and that of the input to `grad_input`, if any.

        Args:
            input: Of `forward`.
            of_norm: What the norm kept, which is taken out.
            grad: Of the output; its memory is used up.
            grad_input: None where it is not needed.
            tile_bytes: Of the activations that exist at a time.
        """
        grad = self.norm.backward_(grad, tuple(of_norm), ALL)
        of_norm.clear()
        self._slabs(input).backward(input, grad, grad_input, tile_bytes)

    def _slabs(self, input: Tensor) -> Slabs | NativeSlabs:
        return self.native if self.native and self.native.takes(input) else self.slabs
