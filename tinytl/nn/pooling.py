"""Average pooling that keeps no input."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _AvgPool2d(torch.autograd.Function):
    """Non-overlapping average pooling without padding; its gradient needs sizes only."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, kernel_size: int) -> Tensor:
        ctx.kernel_size = kernel_size
        ctx.input_size = input.shape
        return F.avg_pool2d(input, kernel_size)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        k = ctx.kernel_size
        height, width = grad.shape[2] * k, grad.shape[3] * k
        result = grad.new_empty(ctx.input_size)
        result[:, :, height:].zero_()
        result[:, :, :, width:].zero_()
        windows = result[:, :, :height, :width].unflatten(2, (-1, k)).unflatten(4, (-1, k))
        torch.div(grad[:, :, :, None, :, None].expand(windows.shape), k * k, out=windows)
        return result, None


class SavingAvgPool2d(nn.AvgPool2d):
    """Average pooling over windows that tile the input, which keeps no input.

    Only for a square kernel that is also the stride, without padding;
    `tinytl.engine.convert` leaves others as they are.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Returns the pooled `input` [N, C, H // k, W // k]."""
        return _AvgPool2d.apply(input, self.kernel_size)
