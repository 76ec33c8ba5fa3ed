"""The paper's count of training memory, from shapes alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from tinytl.backbones import Network
from tinytl.backbones.shapes import run, without_values
from tinytl.errors import ConfigError
from tinytl.nn.partial import PartialConv2d
from tinytl.nn.quantized import Quantized
from tinytl.nn.recomputed import Recomputed

FLOAT_BYTES = 4
FROZEN_WEIGHT_BYTES = 1  # the paper stores frozen weights in 8 bits
_RELUS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU)
_WHOLE_INPUT_ACTIVATIONS = (nn.Sigmoid, nn.Hardswish, nn.Hardsigmoid, nn.SiLU)
_NORMS = (nn.GroupNorm, nn.BatchNorm2d)


@dataclass
class _Count:
    """Per-sample bytes while the network runs forward."""

    backpropagates: bool
    kept_bits: int = 0
    residual_bytes: int = 0
    peak_bytes: int = 0
    before_bits: int = 0

    def leaf(self, module: nn.Module, input: Tensor, output: Tensor) -> None:
        kept_bits, temporary_bytes = _costs(module, input, output, self.backpropagates)
        # what this layer keeps is part of its temporary bytes, and counts from the next layer on
        self.peak_bytes = max(
            self.peak_bytes, self.kept_bits // 8 + self.residual_bytes + temporary_bytes
        )
        self.kept_bits += kept_bits

    def enter(self, block: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Notes what was kept before a recomputed block."""
        self.before_bits = self.kept_bits

    def leave(self, block: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Keeps the input of a recomputed block instead of what its layers would."""
        self.kept_bits = self.before_bits + 8 * FLOAT_BYTES * inputs[0].numel()


def modeled_bytes(network: Network, resolution: int, batch_size: int) -> int:
    """Returns the training memory of `network` as the paper counts it (its section 3.1).

    Trainable parameters at 4 bytes and frozen ones at 1, plus the batch size times the largest sum,
    over the layers in the order of execution, of the activations kept for the backward pass, the
    input of the skip connection being held, and the layer's own input and output.

    A weight that is stored as codes counts as these: a byte an element with 8 bits, which is the
    paper's rule, and less with fewer. Codebooks and scales are left out, as in the paper.

    Of a weight that is trained in part, the input is kept in these channels. An activation counts
    its bit wherever it stands, as in the paper, also in front of all that is trained.

    Of recomputed blocks, which the paper has not, the inputs are kept. While one is computed again,
    what the paper counts for its layers comes on top of the inputs of those before it; its own
    input is what its first layer keeps.

    Args:
        network: With its trained parameters marked.
        resolution: Side of the images in pixels.
        batch_size: Images in a training step.

    Raises:
        ConfigError: If a layer with parameters is of a type that the count does not know.
    """
    parameters = list(network.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    frozen = sum(p.numel() for p in parameters if not p.requires_grad)
    codes = sum(m.codes.nbytes for m in network.modules() if isinstance(m, Quantized))
    parameter_bytes = trained * FLOAT_BYTES + frozen * FROZEN_WEIGHT_BYTES + codes
    return parameter_bytes + batch_size * _peak_bytes_per_sample(network, resolution)


def _peak_bytes_per_sample(network: Network, resolution: int) -> int:
    shapes = without_values(network)
    inside_classifier = {id(p) for p in shapes.classifier.parameters()}
    count = _Count(
        backpropagates=any(
            p.requires_grad and id(p) not in inside_classifier for p in shapes.parameters()
        )
    )
    for module in shapes.modules():
        if next(module.children(), None) is None:
            module.register_forward_hook(
                lambda module, inputs, output: count.leaf(module, inputs[0], output)
            )
    for module in shapes.modules():
        if isinstance(module, Recomputed):
            module.register_forward_pre_hook(count.enter)
            module.register_forward_hook(count.leave)
    for name in shapes.residual_blocks:
        block = shapes.get_submodule(name)
        block.register_forward_pre_hook(_hold(count))
        block.register_forward_hook(_release(count))
    run(shapes, resolution)
    return count.peak_bytes


def _hold(count: _Count) -> Callable[..., None]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        count.residual_bytes = inputs[0].numel() * FLOAT_BYTES

    return hook


def _release(count: _Count) -> Callable[..., None]:
    def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
        count.residual_bytes = 0

    return hook


def _costs(
    module: nn.Module, input: Tensor, output: Tensor, backpropagates: bool
) -> tuple[int, int]:
    """Returns the bits kept for the backward pass and the temporary bytes of one layer call."""
    input_bytes = input.numel() * FLOAT_BYTES
    output_bytes = output.numel() * FLOAT_BYTES
    if isinstance(module, _RELUS):
        return input.numel() * int(backpropagates), input_bytes
    if isinstance(module, _WHOLE_INPUT_ACTIVATIONS):
        return 8 * input_bytes * int(backpropagates), input_bytes
    kept = 8 * input_bytes * int(_trains_weight(module))
    if isinstance(module, PartialConv2d):
        kept = 8 * input_bytes * module.trained.shape[1] // module.in_channels
    if isinstance(module, nn.Conv2d):
        return kept, input_bytes + output_bytes // module.groups
    if isinstance(module, nn.Linear):
        return kept, input_bytes + output_bytes
    if isinstance(module, _NORMS):
        return kept, input_bytes
    if next(module.parameters(), None) is not None:
        known = "convolutions, linear layers, GroupNorm, BatchNorm"
        raise ConfigError(
            f"the modeled memory of a {type(module).__name__} layer is not known: the paper's "
            f"count covers {known} and layers without parameters; add its rule to "
            "tinytl/memory/modeled.py"
        )
    return 0, 0


def _trains_weight(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return weight is not None and weight.requires_grad
