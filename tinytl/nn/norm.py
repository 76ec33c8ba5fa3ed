"""Normalization layers, and twins that keep only what the needed gradients require."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUP_CHANNELS = 8


def group_norm(channels: int, eps: float = 1e-3) -> nn.GroupNorm:
    """Returns a GroupNorm with 8 channels per group.

    Where 8 does not divide `channels`, a group holds the largest divisor that is smaller.
    """
    per_group = next(n for n in range(GROUP_CHANNELS, 0, -1) if channels % n == 0)
    return nn.GroupNorm(channels // per_group, channels, eps=eps)


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm that always uses its running statistics, in training too.

    A per-channel linear map, so the gradient of its input needs nothing but its parameters.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Returns the normalized `input` [N, C, H, W]."""
        return F.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )


def batch_norm_scale(weight: Tensor | None, variance: Tensor, eps: float) -> Tensor:
    """Returns what BatchNorm with running statistics multiplies each channel by, [C]."""
    inverse = torch.rsqrt(variance + eps)
    return inverse if weight is None else inverse * weight


class _FrozenBatchNorm2d(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        mean: Tensor,
        variance: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
    ) -> Tensor:
        ctx.eps = eps
        ctx.save_for_backward(input if ctx.needs_input_grad[3] else None, mean, variance, weight)
        return F.batch_norm(input, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        input, mean, variance, weight = ctx.saved_tensors
        needs_input, needs_weight, needs_bias = (ctx.needs_input_grad[i] for i in (0, 3, 4))
        grad_input = grad_weight = grad_bias = None
        if needs_weight or needs_bias:
            grad_bias = grad.sum(dim=(0, 2, 3))
        if needs_weight:
            along = torch.einsum("nchw,nchw->c", grad, input)
            grad_weight = (along - mean * grad_bias) * torch.rsqrt(variance + ctx.eps)
        if needs_input:
            scale = batch_norm_scale(weight, variance, ctx.eps).to(grad.dtype)
            grad_input = grad * scale.view(-1, 1, 1)
        return grad_input, None, None, grad_weight, grad_bias if needs_bias else None, None


class SavingBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm that, with running statistics, keeps its input only if its scale is trained.

    With those of the batch, in training, it is the stock layer, whose gradient needs the input.

    Attributes:
        in_convolution: Whether the convolution in front computes this layer too
            (`tinytl.nn.conv.fold`), so that its input is the result already.
    """

    in_convolution = False

    def forward(self, input: Tensor) -> Tensor:
        """Returns the normalized `input` [N, C, H, W]."""
        return input if self.in_convolution else self.normalize(input)

    def normalize(self, input: Tensor) -> Tensor:
        """Returns the normalized `input` [N, C, H, W], wherever it is computed."""
        if self.uses_batch_statistics:
            return super().forward(input)
        self._check_input_dim(input)
        return _FrozenBatchNorm2d.apply(
            input, self.running_mean, self.running_var, self.weight, self.bias, self.eps
        )

    @property
    def uses_batch_statistics(self) -> bool:
        """Whether the statistics are those of the input."""
        return self.training or self.running_mean is None

    @property
    def trains_scale(self) -> bool:
        """Whether the scale needs a gradient."""
        return self.weight is not None and self.weight.requires_grad

    def shift(self, bias: Tensor | None) -> Tensor:
        """Returns what is left to be added to a scaled input that had this `bias`, [C].

        It has the gradients of both biases.
        """
        mean, variance = self.get_buffer("running_mean"), self.get_buffer("running_var")
        scale = batch_norm_scale(self.weight, variance, self.eps)
        shift = (-mean if bias is None else bias - mean) * scale
        return shift if self.bias is None else shift + self.bias


class SavingFrozenBatchNorm2d(SavingBatchNorm2d, FrozenBatchNorm2d):
    """A frozen BatchNorm that keeps its input only if its scale is trained."""

    uses_batch_statistics = False


class SavingGroupNorm(nn.GroupNorm):
    """GroupNorm that keeps nothing where neither its input nor its scale needs a gradient.

    Elsewhere the statistics depend on the input, so the exact gradient needs the input even if the
    scale is frozen: the stock function keeps just that and two numbers per group.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Returns the normalized `input` [N, C, ...]."""
        if input.requires_grad or self.weight.requires_grad or not torch.is_grad_enabled():
            return super().forward(input)
        normalized = F.group_norm(input, self.num_groups, self.weight, None, self.eps)
        return _ChannelBias.apply(normalized, self.bias)


class _ChannelBias(torch.autograd.Function):
    """Adds a bias per channel in place, to an input that needs no gradient."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, bias: Tensor) -> Tensor:
        ctx.mark_dirty(input)
        return input.add_(bias.view(1, -1, *[1] * (input.dim() - 2)))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        return None, grad.sum(dim=[0, *range(2, grad.dim())])
