"""torchvision's mobile networks: MobileNetV2 and V3, MNASNet, EfficientNet.

Their blocks are inverted bottlenecks. Activations differ in what they cost: ReLU6 and ReLU 1 bit
per element, h-swish and SiLU their whole input.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn
from torchvision.models import efficientnet, mnasnet, mobilenetv2, mobilenetv3

from tinytl.backbones.adapted import AdaptedNetwork, Layout, branch_point
from tinytl.backbones.base import BackboneInfo, InsertionPoint, Network
from tinytl.config import Norm

# one pixel more than the strides' product leaves 2 x 2 to the last lite residual's pooling
MIN_RESOLUTION = 33


@dataclass(frozen=True)
class _Family:
    """How a family's networks are laid out.

    Attributes:
        head: Dotted name of the last linear layer.
        block: Type of the blocks.
        main: Name of the main branch in a block.
        skip: Name of the attribute that says whether a block has a skip connection.
        features: Name of the modules that run one after another, if their map's mean is all that
            the head takes.
    """

    head: str
    block: type[nn.Module]
    main: str
    skip: str
    features: str | None = None

    def info(
        self, name: str, stages: int, make: Callable[..., nn.Module], **settings: Any
    ) -> BackboneInfo:
        """Returns a backbone that `make(**settings)` builds."""

        def build(norm: Norm, classes: int, dropout: float) -> Network:
            body = make(**settings)
            return AdaptedNetwork(body, self._layout(body), norm, classes, dropout)

        return BackboneInfo(name, stages, ("bn_frozen", "gn_ws"), MIN_RESOLUTION, build)

    def _layout(self, body: nn.Module) -> Layout:
        """A stage starts at each block without a skip connection."""
        blocks = [(n, m) for n, m in body.named_modules() if isinstance(m, self.block)]
        points: list[InsertionPoint] = []
        stage = -1
        for name, block in blocks:
            main = block.get_submodule(self.main)
            first = next(m for m in main.modules() if isinstance(m, nn.Conv2d))
            if first.groups > 1:  # a first block without expansion gets none, as in the paper
                continue
            stage += not getattr(block, self.skip)
            points.append(branch_point(f"{name}.{self.main}", stage, main))
        names = tuple(name for name, _ in blocks)
        residual = tuple(name for name, block in blocks if getattr(block, self.skip))
        return Layout(self.head, tuple(points), names, residual, sequence=self._sequence(body))

    def _sequence(self, body: nn.Module) -> tuple[str, ...]:
        """Returns the modules of `features`, and those of its stacks of blocks."""
        if self.features is None:
            return ()
        names: list[str] = []
        for name, module in body.get_submodule(self.features).named_children():
            path = f"{self.features}.{name}"
            stack = [inner for inner, m in module.named_children() if isinstance(m, self.block)]
            names += [f"{path}.{inner}" for inner in stack] if stack else [path]
        return tuple(names)


_V2 = _Family("classifier.1", mobilenetv2.InvertedResidual, "conv", "use_res_connect", "features")
_V3 = _Family("classifier.3", mobilenetv3.InvertedResidual, "block", "use_res_connect")
_MNASNET = _Family("classifier.1", mnasnet._InvertedResidual, "layers", "apply_residual", "layers")
_EFFICIENTNET = _Family("classifier.1", efficientnet.MBConv, "block", "use_res_connect")
_V2_WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
_MNASNET_WIDTHS = (0.5, 0.75, 1.0, 1.3)


def _at_width(name: str, width: float) -> str:
    return name if width == 1 else f"{name}_{width:g}"


BACKBONES = {
    info.name: info
    for info in (
        *(
            _V2.info(_at_width("mobilenet_v2", width), 6, mobilenetv2.MobileNetV2, width_mult=width)
            for width in _V2_WIDTHS
        ),
        _V3.info("mobilenet_v3_large", 5, mobilenetv3.mobilenet_v3_large),
        _V3.info("mobilenet_v3_small", 4, mobilenetv3.mobilenet_v3_small),
        *(
            _MNASNET.info(_at_width("mnasnet", width), 6, mnasnet.MNASNet, alpha=width)
            for width in _MNASNET_WIDTHS
        ),
        # the paper's only regularization of this kind is dropout before the classifier
        _EFFICIENTNET.info(
            "efficientnet_b0", 6, efficientnet.efficientnet_b0, stochastic_depth_prob=0.0
        ),
    )
}
