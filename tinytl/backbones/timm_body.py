"""A model of timm, made of stock layers and of blocks with main branches of their own.

What timm puts into one layer (a norm with its activation, a convolution with padding as in
TensorFlow) becomes two, so that each can be replaced, counted and saved. Results stay the same;
names change, and are mapped.
"""

from collections import OrderedDict
from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor, nn


class SamePadding(nn.Module):
    """Zeros around a map, so that a convolution gives `ceil(size / stride)` as in TensorFlow.

    Where their number is odd, the bottom and the right get one more.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.reach = [
            dilation * (size - 1) + 1
            for size, dilation in zip(convolution.kernel_size, convolution.dilation, strict=True)
        ]
        self.stride = convolution.stride

    def forward(self, input: Tensor) -> Tensor:
        """Returns the padded `input` [N, C, H, W]."""
        padding: list[int] = []
        for size, reach, stride in zip(input.shape[2:], self.reach, self.stride, strict=True):
            total = max((-(-size // stride) - 1) * stride + reach - size, 0)
            padding = [total // 2, total - total // 2, *padding]  # the last axis comes first
        return F.pad(input, padding)


class InvertedBlock(nn.Module):
    """A main branch of layers one after another, and the skip connection around it."""

    def __init__(self, main: nn.Sequential, has_skip: bool) -> None:
        super().__init__()
        self.main = main
        self.has_skip = has_skip

    def forward(self, input: Tensor) -> Tensor:
        """Returns the block's output [N, C, H', W']."""
        output = self.main(input)
        return output.add_(input) if self.has_skip else output


def make_body(model: str) -> tuple[nn.Module, dict[str, str]]:
    """Returns a model of split layers and blocks, and its modules' names by those in timm.

    Drop path and dropout are off.
    """
    import timm

    network = timm.create_model(model, pretrained=False, drop_rate=0.0, drop_path_rate=0.0)
    names = {module: name for name, module in network.named_modules()}
    _split_layers(network)
    _split_blocks(network)
    body = _in_sequence(network)
    return body, {names[m]: name for name, m in body.named_modules() if m in names}


def _split_layers(body: nn.Module) -> None:
    """Makes stock layers of timm's, in place; their modules stay, so that they can be traced."""
    from timm.layers import BatchNormAct2d, Conv2dSame, Sigmoid

    for name, module in list(body.named_modules()):
        if type(module) is BatchNormAct2d:
            activation = module.act
            del module.act, module.drop
            module.__class__ = nn.BatchNorm2d
            if not isinstance(activation, nn.Identity):
                split = OrderedDict(norm=module, act=activation)
                body.set_submodule(name, nn.Sequential(split))
        elif type(module) is Conv2dSame:
            module.__class__ = nn.Conv2d
            split = OrderedDict(pad=SamePadding(module), conv=module)
            body.set_submodule(name, nn.Sequential(split))
        elif type(module) is Sigmoid:
            module.__class__ = nn.Sigmoid


def _split_blocks(body: nn.Module) -> None:
    """Gives the blocks that have an expansion main branches of their own, in place."""
    from timm.models import _efficientnet_blocks as blocks

    inverted = (blocks.InvertedResidual, blocks.EdgeResidual, blocks.UniversalInvertedResidual)
    for name, module in list(body.named_modules()):
        if type(module) in inverted:
            block = InvertedBlock(_in_sequence(module), bool(module.has_skip))
            body.set_submodule(name, block)


def _in_sequence(module: nn.Module) -> nn.Sequential:
    """Returns the layers and blocks of a module whose children run one after another.

    In one sequence none is held longer than the next one needs it, as in nested ones.
    """
    children = module.named_children()
    return nn.Sequential(OrderedDict(pair for child in children for pair in _chain(*child)))


def _chain(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yields what a module runs one after another, under names of one part."""
    from timm.layers import ConvNormAct

    if isinstance(module, (nn.Sequential, ConvNormAct)):
        for inner, child in module.named_children():
            yield from _chain(f"{name}_{inner}", child)
    elif not isinstance(module, nn.Identity):
        yield name, module
