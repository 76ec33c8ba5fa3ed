"""Adam that keeps its two moments in 8 bits a weight each."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

BLOCK = 256  # weights with a scale of their own
SMALLEST = 4096  # weights of a parameter that is stored in codes
_PIECE = 64 * BLOCK  # weights that are updated at a time
_BETAS = (0.9, 0.999)
_EPSILON = 1e-8
_GOLDEN = (math.sqrt(5) - 1) / 2
_TYPES = {"mean_codes": torch.int8, "root_codes": torch.uint8}


class Adam8bit(torch.optim.Optimizer):
    """Adam with an approximate state of about 2 bytes a weight instead of 8.

    The running mean of the gradients and the root of that of their squares are codes of one byte
    and a scale for each 256 weights, the largest magnitude among them. A code is the fourth root of
    a value's share of its scale, in whole 127ths or 255ths: steps are finer the smaller the value,
    as in the dynamic codes of "8-bit Optimizers via Block-wise Quantization" (Dettmers et al., ICLR
    2022). A root is never rounded to 0, for updates are divided by it. Parameters of fewer than
    4096 weights have a float state and are updated as by Adam.

    A value is rounded up or down by a threshold that goes through (0, 1) evenly from step to step,
    so that roundings cancel over time: rounding to the nearest code would undo each change smaller
    than half a step, and the mean of squares changes by a thousandth. No random number is drawn,
    and an update depends on nothing but state and gradient.

    A few thousand weights are decoded, updated and encoded at a time, and parameters without a
    gradient are left alone.

    Args:
        parameters: Contiguous, of floats.
        lr: Learning rate.
        weight_decay: L2, as that of Adam.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Updates the parameters that have a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group["lr"], group["weight_decay"])

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over the state that `state_dict` returned."""
        super().load_state_dict(state_dict)
        for state in self.state.values():  # which now has the parameters' type
            state.update({name: state[name].to(_TYPES[name]) for name in _TYPES if name in state})

    def _update(self, parameter: nn.Parameter, grad: Tensor, rate: float, decay: float) -> None:
        state = self.state[parameter]
        if not state:
            state.update(_new_state(parameter))
        state["step"] += 1
        step = state["step"]
        if "mean" in state:
            _adam(parameter, grad, state["mean"], state["root"], step, rate, decay)
            return
        weights, grads = parameter.view(-1), grad.reshape(-1)
        for part, blocks in _pieces(len(weights)):
            moments = [
                _Moment(state[f"{name}_codes"][part], state[f"{name}_scales"][blocks])
                for name in ("mean", "root")
            ]
            mean, root = (moment.decoded() for moment in moments)
            _adam(weights[part], grads[part], mean, root, step, rate, decay)
            for moment, values in zip(moments, (mean, root), strict=True):
                moment.encode(values, step * _GOLDEN % 1)


def _new_state(parameter: nn.Parameter) -> dict[str, Any]:
    if parameter.numel() < SMALLEST:
        return {
            "step": 0,
            "mean": torch.zeros_like(parameter),
            "root": torch.zeros_like(parameter),
        }
    count = parameter.numel()
    blocks = math.ceil(count / BLOCK)
    return {
        "step": 0,
        **{name: parameter.new_zeros(count, dtype=dtype) for name, dtype in _TYPES.items()},
        "mean_scales": parameter.new_zeros(blocks, 1),
        "root_scales": parameter.new_zeros(blocks, 1),
    }


def _pieces(count: int) -> Iterator[tuple[slice, slice]]:
    """Yields weights of whole blocks, and those blocks; a rest of weights is a block by itself."""
    whole = count // BLOCK * BLOCK
    for start in range(0, whole, _PIECE):
        stop = min(start + _PIECE, whole)
        yield slice(start, stop), slice(start // BLOCK, stop // BLOCK)
    if whole < count:
        yield slice(whole, count), slice(whole // BLOCK, None)


def _adam(
    weight: Tensor,
    grad: Tensor,
    mean: Tensor,
    root: Tensor,
    step: int,
    rate: float,
    decay: float,
) -> None:
    """Updates a weight, and the running mean of its gradient and root of that of the square."""
    if decay:
        grad = grad.add(weight, alpha=decay)
    mean.lerp_(grad, 1 - _BETAS[0])
    root.square_().mul_(_BETAS[1]).addcmul_(grad, grad, value=1 - _BETAS[1]).sqrt_()
    divisor = root.div(math.sqrt(1 - _BETAS[1] ** step)).add_(_EPSILON)
    weight.addcdiv_(mean, divisor, value=-rate / (1 - _BETAS[0] ** step))


@dataclass(frozen=True)
class _Moment:
    """Values in one byte each.

    Attributes:
        codes: int8, or uint8 for values above 0; [blocks * weights].
        scales: Largest magnitude of each block, [blocks, 1].
    """

    codes: Tensor
    scales: Tensor

    @property
    def levels(self) -> int:
        """The code of a scale."""
        return torch.iinfo(self.codes.dtype).max

    def decoded(self) -> Tensor:
        """Returns the values, [blocks * weights]."""
        values = self.codes.to(self.scales.dtype).div_(self.levels)
        for _ in range(2):  # the fourth power, with the sign kept
            values.mul_(values.abs())
        self._blocks(values).mul_(self.scales)
        return values

    def encode(self, values: Tensor, threshold: float) -> None:
        """Replaces all values; fractions of a code from 1 - `threshold` on are rounded up."""
        sizes = self._blocks(values.abs())
        torch.amax(sizes, dim=1, keepdim=True, out=self.scales)
        # a block of zeros has a scale of 0
        sizes.div_(self.scales.clamp(min=torch.finfo(sizes.dtype).tiny))
        least = 0 if self.codes.dtype.is_signed else 1
        sizes.sqrt_().sqrt_().mul_(self.levels).add_(threshold).floor_().clamp_(least, self.levels)
        self.codes.copy_(sizes.view(-1).copysign_(values))

    def _blocks(self, values: Tensor) -> Tensor:
        return values.view(len(self.scales), -1)
