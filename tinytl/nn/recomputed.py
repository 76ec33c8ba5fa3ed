"""Modules whose inside is computed again in the backward pass: of them only the input is kept."""

import functools
from typing import Any

import torch
from torch import Tensor, nn


class Recomputed(nn.Module):
    """What recomputed modules have in common; `recompute` makes one of a module."""

    def forward(self, input: Tensor) -> Tensor:
        """Returns what the module returned before."""
        trained = self.trained()
        if not trained or not torch.is_grad_enabled():
            return self.inside(input)
        return _Recompute.apply(input, self, *trained)

    def inside(self, input: Tensor) -> Tensor:
        """Returns the same, and keeps what the layers inside keep."""
        return super().forward(input)

    def trained(self) -> list[nn.Parameter]:
        """Returns the parameters that need a gradient."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]


class _Recompute(torch.autograd.Function):
    """Computes without a graph, and again with one when the gradients are asked for.

    A function of our own, for what it saves is what saved-tensor hooks see.
    """

    @staticmethod
    def forward(ctx: Any, input: Tensor, module: Recomputed, *trained: Tensor) -> Tensor:
        kind = input.device.type
        ctx.module = module
        ctx.autocast = {
            "device_type": kind,
            "dtype": torch.get_autocast_dtype(kind),
            "enabled": torch.is_autocast_enabled(kind),
        }
        ctx.save_for_backward(input)
        return module.inside(input)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (kept,) = ctx.saved_tensors
        needs_input = ctx.needs_input_grad[0]
        input = kept.detach().requires_grad_(needs_input)
        with torch.enable_grad(), torch.autocast(**ctx.autocast):
            output = ctx.module.inside(input)
        trained = ctx.module.trained()
        found = torch.autograd.grad(output, [input, *trained] if needs_input else trained, grads)
        return found[0] if needs_input else None, None, *found[-len(trained) :]


def recompute(module: nn.Module) -> None:
    """Makes a module keep nothing but its input for the backward pass, in place.

    Parameters, buffers, their names, results and gradients stay the same.

    Args:
        module: Takes one tensor and returns one; nothing in it is random, or changes what a second
            call returns.
    """
    if not isinstance(module, Recomputed):
        kind: Any = type(module)
        module.__class__ = _twin(kind)


@functools.cache
def _twin(kind: type[Any]) -> type[nn.Module]:
    return type(f"Recomputed{kind.__name__}", (Recomputed, kind), {})
