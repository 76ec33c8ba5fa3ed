"""A linear layer that keeps its input only where the gradient of its weight needs it."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Linear(torch.autograd.Function):
    """Keeps what its weight is made of (no copy), and the input only if that needs a gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        bias: Tensor | None,
        dense: Callable[..., Tensor],
        *stored: Tensor,
    ) -> Tensor:
        ctx.dense = dense
        ctx.save_for_backward(input if ctx.needs_input_grad[3] else None, *stored)
        return F.linear(input, dense(*stored), bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        input, *stored = ctx.saved_tensors
        needs_input, needs_bias, needs_weight = (ctx.needs_input_grad[i] for i in (0, 1, 3))
        rows = grad.reshape(-1, grad.shape[-1])
        return (
            grad @ ctx.dense(*stored).to(grad.dtype) if needs_input else None,
            rows.sum(dim=0) if needs_bias else None,
            None,
            rows.T @ input.reshape(-1, input.shape[-1]).to(grad.dtype) if needs_weight else None,
            *[None] * (len(stored) - 1),
        )


class SavingLinear(nn.Linear):
    """A linear layer that keeps its input only if its weight is trained (a' = aW + b)."""

    def forward(self, input: Tensor) -> Tensor:
        """Returns `input @ weight.T + bias` for an `input` [..., in_features]."""
        return _Linear.apply(input, self.bias, *self.weight_source())

    def weight_source(self) -> tuple[Callable[..., Tensor] | Tensor, ...]:
        """Returns a function that makes the weight, and its arguments."""
        return lambda weight: weight, self.weight
