"""ProxylessNAS networks (Cai, Zhu, Han; ICLR 2019) from their published configurations."""

import math

from torch import Tensor, nn

from tinytl.backbones.architecture import NORM_EPS, Architecture, Block
from tinytl.backbones.base import BackboneInfo, InsertionPoint, Network
from tinytl.backbones.reference_names import from_reference
from tinytl.config import Norm
from tinytl.nn.conv import WSConv2d
from tinytl.nn.norm import FrozenBatchNorm2d, group_norm

NORM_MOMENTUM = 0.1


class ConvNormAct(nn.Module):
    """Convolution, normalization and, unless `linear`, ReLU6."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm: Norm,
        *,
        kernel_size: int = 1,
        stride: int = 1,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        super().__init__()
        convolution = WSConv2d if norm == "gn_ws" else nn.Conv2d
        self.conv = convolution(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            groups=groups,
            bias=False,
        )
        self.norm: nn.Module = (
            group_norm(out_channels, NORM_EPS)
            if norm == "gn_ws"
            else FrozenBatchNorm2d(out_channels, NORM_EPS, NORM_MOMENTUM)
        )
        self.act: nn.Module = nn.Identity() if linear else nn.ReLU6(inplace=True)

    def forward(self, input: Tensor) -> Tensor:
        """Returns the activations [N, out_channels, H', W']."""
        return self.act(self.norm(self.conv(input)))


class InvertedBottleneck(nn.Module):
    """1x1 expansion (none where the ratio is 1), depthwise convolution, 1x1 projection."""

    def __init__(self, block: Block, norm: Norm) -> None:
        super().__init__()
        hidden = round(block.in_channels * block.expand_ratio)
        self.expand: nn.Module = (
            nn.Identity()
            if block.expand_ratio == 1
            else ConvNormAct(block.in_channels, hidden, norm)
        )
        self.depthwise = ConvNormAct(
            hidden,
            hidden,
            norm,
            kernel_size=block.kernel_size,
            stride=block.stride,
            groups=hidden,
        )
        self.project = ConvNormAct(hidden, block.out_channels, norm, linear=True)

    def forward(self, input: Tensor) -> Tensor:
        """Returns the block's output [N, out_channels, H', W'], without the skip connection."""
        return self.project(self.depthwise(self.expand(input)))


class ProxylessBlock(nn.Module):
    """A main branch and, where the block has one, the skip connection around it."""

    def __init__(self, block: Block, norm: Norm) -> None:
        super().__init__()
        self.main: nn.Module = InvertedBottleneck(block, norm)
        self.shortcut = block.shortcut

    def forward(self, input: Tensor) -> Tensor:
        """Returns the block's output [N, out_channels, H', W']."""
        output = self.main(input)
        return output.add_(input) if self.shortcut else output


class ProxylessNAS(Network):
    """A ProxylessNAS network with one linear classifier.

    Its stages start at each block, after the first, that has no skip connection.
    """

    def __init__(
        self, architecture: Architecture, norm: Norm, classes: int, dropout: float
    ) -> None:
        super().__init__()
        self.stem = ConvNormAct(3, architecture.stem_channels, norm, kernel_size=3, stride=2)
        self.blocks = nn.ModuleList(
            nn.Identity() if block is None else ProxylessBlock(block, norm)
            for block in architecture.blocks
        )
        last = next(block for block in reversed(architecture.blocks) if block is not None)
        self.features = ConvNormAct(last.out_channels, architecture.feature_channels, norm)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(architecture.feature_channels, classes)
        self.insertion_points = _insertion_points(architecture)
        self.block_names = tuple(
            f"blocks.{i}" for i, block in enumerate(architecture.blocks) if block is not None
        )
        self.residual_blocks = tuple(
            f"blocks.{index}"
            for index, block in enumerate(architecture.blocks)
            if block is not None and block.shortcut
        )
        self.sequence = ("stem", *self.block_names, "features")
        self.last_convolution = (self.features.conv, self.features.norm)
        self.apply(_initialize)

    def forward(self, input: Tensor) -> Tensor:
        """Returns the logits [N, classes] of images [N, 3, H, W]."""
        hidden = self.stem(self.normalization(input))
        for block in self.blocks:
            hidden = block(hidden)
        pooled = self.features(hidden).mean(dim=(2, 3))
        return self.classifier(self.dropout(pooled))

    def own_name(self, name: str) -> str:
        """Returns the name for one of the reference's."""
        return from_reference(name)


def _insertion_points(architecture: Architecture) -> tuple[InsertionPoint, ...]:
    points: list[InsertionPoint] = []
    stage = -1
    for index, block in enumerate(architecture.blocks):
        if index == 0 or block is None:
            continue
        if not block.shortcut:
            stage += 1
        points.append(
            InsertionPoint(
                f"blocks.{index}.main",
                stage,
                block.in_channels,
                block.out_channels,
                block.stride,
                block.module,
            )
        )
    return tuple(points)


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)


_MOBILE_STAGES = (
    "2: 5e3 3e3 - -, 2: 7e3 3e3 5e3 5e3, 2: 7e6 5e3 5e3 5e3, 1: 5e6 5e3 5e3 5e3,"
    "2: 7e6 7e6 7e3 7e3, 1: 7e6"
)
_CPU_STAGES = (
    "2: 3e6 3e3 3e3 3e3, 2: 3e6 3e3 3e3 5e3, 2: 3e6 - - 3e3, 1: 5e6 3e3 3e3 3e3,"
    "2: 5e6 5e3 5e3 3e3, 1: 5e6"
)
_GPU_STAGES = (
    "2: 5e3 - - -, 2: 7e3 - - 3e3, 2: 7e6 - - 5e3, 1: 5e6 - 3e3 5e3, 2: 7e6 7e6 7e6 5e6, 1: 7e6"
)
# The built-in task's backbone: the same blocks, small enough to pre-train in a minute on a CPU.
_TINY_STAGES = "2: 3e3 3e3, 2: 5e3 3e3, 2: 5e3 3e3, 1: 3e6"

ARCHITECTURES: dict[str, Architecture] = {
    "proxyless_mobile": Architecture.compact(
        32, 16, _MOBILE_STAGES, (32, 40, 80, 96, 192, 320), 1280
    ),
    "proxyless_mobile_14": Architecture.compact(
        48, 24, _MOBILE_STAGES, (40, 56, 112, 136, 256, 448), 1792
    ),
    "proxyless_cpu": Architecture.compact(40, 24, _CPU_STAGES, (32, 48, 88, 104, 216, 360), 1432),
    "proxyless_gpu": Architecture.compact(40, 24, _GPU_STAGES, (32, 56, 112, 128, 256, 432), 1728),
    "proxyless_w0.25": Architecture.compact(8, 8, _MOBILE_STAGES, (8, 16, 24, 24, 48, 80), 320),
    "proxyless_w0.3": Architecture.compact(16, 8, _MOBILE_STAGES, (16, 16, 24, 32, 64, 96), 384),
    "proxyless_tiny": Architecture.compact(16, 8, _TINY_STAGES, (16, 24, 40, 64), 192),
}


def _info(name: str, architecture: Architecture) -> BackboneInfo:
    def build(norm: Norm, classes: int, dropout: float) -> Network:
        return ProxylessNAS(architecture, norm, classes, dropout)

    strides = [2, *(block.stride for block in architecture.blocks if block)]
    # one pixel more than the strides divide leaves 2 x 2 to the last lite residual's pooling
    smallest = math.prod(strides) + 1
    return BackboneInfo(name, architecture.stages, ("gn_ws", "bn_frozen"), smallest, build)


BACKBONES = {name: _info(name, architecture) for name, architecture in ARCHITECTURES.items()}
