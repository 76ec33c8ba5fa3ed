"""The lite residual module beside a main branch."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinytl.engine.planned.layers import ALL, SlabNorm, SlabWeight
from tinytl.engine.planned.slabs import Stage
from tinytl.nn.lite_residual import LiteResidual
from tinytl.nn.pooling import average_gradient


class LiteBranch:
    """Pooling, group convolution, 1x1 convolution and upsampling, without a graph.

    Args:
        module: What is computed, converted by `tinytl.engine.convert`.
    """

    def __init__(self, module: LiteResidual) -> None:
        layers: Any = module
        self.module = module
        self.stage = Stage.of(layers.conv1, layers.norm1, layers.act)
        self.second = SlabWeight(layers.conv2)
        self.norm = SlabNorm(layers.final_norm)
        self.weights = self.stage.weight, self.second
        self.parameters = [p for p in module.parameters() if p.requires_grad]

    def forward(self, input: Tensor, size: torch.Size) -> tuple[Tensor, list[Tensor]]:
        """Returns the residual [N, C', *size] of a block's `input` [N, C, H, W].

        And what spares `backward` the convolutions: three tensors of a quarter of the input's size,
        or less.
        """
        kept = self._convolved(input)
        residual, _ = self.norm.forward(kept[-1], ALL)
        return F.interpolate(residual, size=list(size), mode="bilinear", align_corners=False), kept

    def backward(
        self, input: Tensor, kept: list[Tensor], grad: Tensor, *, needs_input: bool
    ) -> Tensor | None:
        """Adds the gradients of the parameters up; returns that of the input where it is needed.

        Args:
            input: Of `forward`.
            kept: By it, or nothing; it is taken out.
            grad: Of its result.
            needs_input: Whether the gradient of the input is needed.
        """
        pooled, first, second = kept or self._convolved(input)
        kept.clear()
        size = grad.shape[2:], second.shape
        grad = torch.ops.aten.upsample_bilinear2d_backward(grad, *size, False)
        _, of_norm = self.norm.forward(second, ALL)
        del second, _
        grad = self.norm.backward_(grad, of_norm, ALL)
        del of_norm
        hidden = self.stage.activate(first, ALL)
        del first
        self.second.add_gradient(hidden.output, grad, ALL)
        grad = self.second.backward(grad, ALL, hidden.output.shape)
        grad = self.stage.backward_(grad, hidden, ALL)
        del hidden
        self.stage.weight.add_gradient(pooled, grad, ALL)
        if not needs_input:
            return None
        grad = self.stage.weight.backward(grad, ALL, pooled.shape)
        return average_gradient(grad, _window(self.module.pool, input), input.shape)

    def _convolved(self, input: Tensor) -> list[Tensor]:
        """Returns the pooled input, and what either convolution makes of its own."""
        pooled = self.module.pool(input)
        first = self.stage.weight.forward(pooled, ALL)
        hidden = self.stage.activate(first, ALL).output
        return [pooled, first, self.second.forward(hidden, ALL)]


def _window(pool: nn.Module, input: Tensor) -> tuple[int, int]:
    """Returns height and width of a pooling's windows, which for a global one is all there is."""
    if isinstance(pool, nn.AvgPool2d):
        return int(pool.kernel_size), int(pool.kernel_size)  # type: ignore[arg-type]
    return input.shape[2], input.shape[3]
