"""What people use instead of this project's engine to train in less memory.

Each changes a network of stock layers in place, as its documentation recommends;
`benchmarks.systems.peers` measures them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._functorch import config as functorch_config
from torch.nn.grad import conv2d_input, conv2d_weight
from torch.utils.checkpoint import checkpoint

from tinytl.backbones import Network
from tinytl.nn.conv import Geometry, WSConv2d
from tinytl.nn.norm import FrozenBatchNorm2d, batch_norm_scale

Change = Callable[[Network], None]


def leave(network: Network) -> None:
    """Plain PyTorch."""


def checkpoint_blocks(network: Network) -> None:
    """`torch.utils.checkpoint`: keeps each block's input, and computes its inside again."""
    for name in network.sequence:
        block = network.get_submodule(name)
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def compile_within(budget: float) -> Change:
    """`torch.compile`, told which share of the activations to keep that it would keep by default.

    Setting `torch._functorch.config.activation_memory_budget` for the whole process does the same.

    Args:
        budget: 1 for the default, 0 for what checkpointing the whole network keeps.
    """
    inductor = torch._dynamo.lookup_backend("inductor")

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        with functorch_config.patch(activation_memory_budget=budget):
            return inductor(graph, inputs)

    def change(network: nn.Module) -> None:
        network.forward = torch.compile(network.forward, backend=backend, fullgraph=True)

    return change


def select_what_is_kept(network: Network) -> None:
    """The approach of memsave_torch: layers keep inputs only for parameters that are trained.

    The package is installed from its repository alone, and knows neither weight standardization nor
    ReLU6; these layers of our own do for them what it does for convolutions and ReLU.
    """
    for module in network.modules():
        if type(module) in _SELECTIVE:
            module.__class__ = _SELECTIVE[type(module)]


class _Convolution(torch.autograd.Function):
    """Keeps the input only for a trained weight, and the weight only for the input's gradient."""

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry
    ) -> Tensor:
        needs_input, needs_weight = ctx.needs_input_grad[:2]
        ctx.save_for_backward(input if needs_weight else None, weight if needs_input else None)
        ctx.sizes, ctx.geometry = (input.shape, weight.shape), geometry
        return nn.functional.conv2d(input, weight, bias, *geometry)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        input, weight = ctx.saved_tensors
        input_size, weight_size = ctx.sizes
        grad_input = grad_weight = grad_bias = None
        if weight is not None:
            grad_input = conv2d_input(input_size, weight, grad, *ctx.geometry)
        if input is not None:
            grad_weight = conv2d_weight(input, weight_size, grad, *ctx.geometry)
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum(dim=(0, 2, 3))
        return grad_input, grad_weight, grad_bias, None


class _FrozenScale(torch.autograd.Function):
    """BatchNorm with running statistics and a frozen scale: keeps a number for each channel."""

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor,
        eps: float,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(batch_norm_scale(scale, variance, eps))
        return nn.functional.batch_norm(input, mean, variance, scale, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (scale,) = grads, ctx.saved_tensors
        grad_input = grad * scale.view(-1, 1, 1) if ctx.needs_input_grad[0] else None
        grad_bias = grad.sum(dim=(0, 2, 3)) if ctx.needs_input_grad[2] else None
        return grad_input, None, grad_bias, None, None, None


class _MaskedClamp(torch.autograd.Function):
    """Keeps a byte an element: whether the gradient passes."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, high: float) -> Tensor:
        ctx.save_for_backward((input > 0) & (input < high))
        return input.clamp(0, high)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (passes,) = grads, ctx.saved_tensors
        return grad * passes, None


class _SelectiveConv2d(nn.Conv2d):
    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        geometry = self.stride, self.padding, self.dilation, self.groups
        return _Convolution.apply(input, weight, bias, geometry)


class _SelectiveWSConv2d(WSConv2d, _SelectiveConv2d):
    pass


class _SelectiveBatchNorm2d(FrozenBatchNorm2d):
    def forward(self, input: Tensor) -> Tensor:
        if self.weight.requires_grad:
            return super().forward(input)
        return _FrozenScale.apply(
            input, self.weight, self.bias, self.running_mean, self.running_var, self.eps
        )


class _SelectiveReLU(nn.ReLU):
    def forward(self, input: Tensor) -> Tensor:
        return _MaskedClamp.apply(input, float("inf"))


class _SelectiveReLU6(nn.ReLU6):
    def forward(self, input: Tensor) -> Tensor:
        return _MaskedClamp.apply(input, 6.0)


_SELECTIVE: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: _SelectiveConv2d,
    WSConv2d: _SelectiveWSConv2d,
    FrozenBatchNorm2d: _SelectiveBatchNorm2d,
    nn.ReLU: _SelectiveReLU,
    nn.ReLU6: _SelectiveReLU6,
}
