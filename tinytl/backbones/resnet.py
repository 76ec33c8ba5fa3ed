"""ResNets (He, Zhang, Ren, Sun; CVPR 2016), made of torchvision's."""

import re
from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor, nn
from torchvision.models import resnet

from tinytl.backbones.adapted import AdaptedNetwork, Layout, branch_point
from tinytl.backbones.base import BackboneInfo, Network
from tinytl.config import Norm

STAGES = ("layer1", "layer2", "layer3", "layer4")
MIN_RESOLUTION = 33


class ResidualBlock(nn.Module):
    """One of torchvision's blocks with its main branch as a module of its own.

    Only so can another branch be added before the last activation.
    """

    def __init__(self, block: resnet.BasicBlock | resnet.Bottleneck) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        layers = 2 if isinstance(block, resnet.BasicBlock) else 3
        for index in range(1, layers + 1):
            for kind in ("conv", "bn"):
                parts[f"{kind}{index}"] = block.get_submodule(f"{kind}{index}")
            if index < layers:
                parts[f"relu{index}"] = nn.ReLU(inplace=True)
        self.main = nn.Sequential(parts)
        self.downsample = block.downsample
        self.relu = nn.ReLU(inplace=True)

    def forward(self, input: Tensor) -> Tensor:
        """Returns the block's output [N, C, H', W']."""
        output = self.main(input)
        output += input if self.downsample is None else self.downsample(input)
        return self.relu(output)


def _own_name(name: str) -> str:
    """Puts a block's main branch where `ResidualBlock` has it."""
    return re.sub(r"^(layer\d+\.\d+)\.((?:conv|bn)\d)\.", r"\1.main.\2.", name)


def _info(name: str, make: Callable[[], resnet.ResNet]) -> BackboneInfo:
    def build(norm: Norm, classes: int, dropout: float) -> Network:
        body = make()
        points, blocks = [], []
        for stage, path in enumerate(STAGES):
            for index, block in enumerate(body.get_submodule(path).children()):
                split = ResidualBlock(block)
                body.set_submodule(f"{path}.{index}", split)
                blocks.append(f"{path}.{index}")
                points.append(branch_point(f"{path}.{index}.main", stage, split.main))
        layout = Layout("fc", tuple(points), tuple(blocks), tuple(blocks), own_name=_own_name)
        return AdaptedNetwork(body, layout, norm, classes, dropout)

    return BackboneInfo(name, len(STAGES), ("bn_frozen", "gn_ws"), MIN_RESOLUTION, build)


BACKBONES = {
    info.name: info
    for info in (
        _info("resnet18", resnet.resnet18),
        _info("resnet34", resnet.resnet34),
        _info("resnet50", resnet.resnet50),
    )
}
