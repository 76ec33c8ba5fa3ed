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

    def forward(self, input: Tensor, size: tuple[int, int]) -> Tensor:
        """Returns the residual [N, C', *size] of a block's `input` [N, C, H, W]."""
        hidden = self.stage.forward(self.module.pool(input), ALL).output
        hidden = self.norm.forward(self.second.forward(hidden, ALL), ALL)[0]
        return F.interpolate(hidden, size=size, mode="bilinear", align_corners=False)

    def backward(self, input: Tensor, grad: Tensor, *, needs_input: bool) -> Tensor | None:
        """Adds the gradients of the parameters up; returns that of the input where it is needed.

        Args:
            input: Of `forward`.
            grad: Of its result.
            needs_input: Whether the gradient of the input is needed.
        """
        pooled = self.module.pool(input)
        kept = self.stage.forward(pooled, ALL)
        hidden = kept.output
        output, of_norm = self.norm.forward(self.second.forward(hidden, ALL), ALL)
        size = grad.shape[2:], output.shape
        del output
        grad = torch.ops.aten.upsample_bilinear2d_backward(grad, *size, False)
        grad = self.norm.backward_(grad, of_norm, ALL)
        del of_norm
        self.second.add_gradient(hidden, grad, ALL)
        grad = self.second.backward(grad, ALL, hidden.shape)
        del hidden
        grad = self.stage.backward_(grad, kept, ALL)
        self.stage.weight.add_gradient(pooled, grad, ALL)
        if not needs_input:
            return None
        grad = self.stage.weight.backward(grad, ALL, pooled.shape)
        return average_gradient(grad, _window(self.module.pool, input), input.shape)


def _window(pool: nn.Module, input: Tensor) -> tuple[int, int]:
    """Returns height and width of a pooling's windows, which for a global one is all there is."""
    if isinstance(pool, nn.AvgPool2d):
        return int(pool.kernel_size), int(pool.kernel_size)  # type: ignore[arg-type]
    return input.shape[2], input.shape[3]
