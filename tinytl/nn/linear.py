"""A linear layer that keeps its input only where the gradient of its weight needs it."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(input if ctx.needs_input_grad[1] else None, weight)
        return F.linear(input, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        input, weight = ctx.saved_tensors
        needs_input, needs_weight, needs_bias = ctx.needs_input_grad
        rows = grad.reshape(-1, grad.shape[-1])
        return (
            grad @ weight if needs_input else None,
            rows.T @ input.reshape(-1, input.shape[-1]) if needs_weight else None,
            rows.sum(dim=0) if needs_bias else None,
        )


class SavingLinear(nn.Linear):
    """A linear layer that keeps its input only if its weight is trained (a' = aW + b)."""

    def forward(self, input: Tensor) -> Tensor:
        """Returns `input @ weight.T + bias` for an `input` [..., in_features]."""
        return _Linear.apply(input, self.weight, self.bias)
