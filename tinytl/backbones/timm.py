"""timm's networks of inverted bottlenecks, through the optional extra `timm`.

`timm/<model>` is one of its EfficientNets, MobileNets and their kin: MNASNet, FBNet, MixNet,
TinyNet, HardCoRe-NAS and so on; `timm/<model>.<tag>` names one of several weights.
"""

import difflib
from dataclasses import dataclass, field
from functools import lru_cache, partial
from types import ModuleType

import torch
from torch import Tensor, nn

from tinytl.backbones.adapted import AdaptedNetwork, Layout
from tinytl.backbones.base import BackboneInfo, InsertionPoint, Network
from tinytl.backbones.timm_body import InvertedBlock, SamePadding, make_body
from tinytl.config import Norm
from tinytl.errors import ConfigError

PREFIX = "timm/"
# timm's modules whose networks are made of these blocks
FAMILIES = ("efficientnet", "mobilenetv3", "hardcorenas")
HEAD = "classifier"
TRACED_RESOLUTION = 256  # every stride divides it

# what methods can treat and the count of memory knows
_LAYERS = (
    *(nn.Conv2d, nn.BatchNorm2d, nn.Linear, nn.Dropout, nn.Identity, nn.Flatten, SamePadding),
    *(nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.Sigmoid, nn.Hardsigmoid),
    *(nn.AvgPool2d, nn.AdaptiveAvgPool2d),
)


@lru_cache
def find(name: str) -> BackboneInfo:
    """Returns the backbone `timm/<model>` or `timm/<model>.<tag>`; nothing is downloaded.

    Raises:
        ConfigError: If timm is not installed, has no such model, or the model is not made of
            inverted bottlenecks and layers that are supported.
    """
    model = _known_model(name)
    with torch.device("meta"):
        body, names = make_body(model)
        _check_layers(name, body)
        trace = _traced(body)
    if not trace.points:
        raise ConfigError(
            f"{name} has no inverted bottlenecks, beside which lite residual modules go: choose a "
            "model that has, such as timm/mobilenetv2_100"
        )
    blocks = {n: m.has_skip for n, m in body.named_modules() if hasattr(m, "has_skip")}
    residual = tuple(name for name, has_skip in blocks.items() if has_skip)
    own_name = partial(_own_name, names)
    layout = Layout(HEAD, tuple(trace.points), tuple(blocks), residual, own_name=own_name)
    norms: tuple[Norm, ...] = ("bn_frozen",)
    if _all_normalized(trace.layers):
        norms += ("gn_ws",)

    def build(norm: Norm, classes: int, dropout: float) -> Network:
        return AdaptedNetwork(make_body(model)[0], layout, norm, classes, dropout)

    # one pixel more than the stride leaves 2 x 2 to the last lite residual's pooling
    return BackboneInfo(name, 1 + trace.points[-1].stage, norms, trace.stride + 1, build)


@dataclass(frozen=True)
class Pretrained:
    """The weights that timm has for a model.

    Attributes:
        file: Their name in a directory of weights.
        url: Where they are downloaded from.
        mean: Of the input's channels, for values in 0 to 1.
        std: Standard deviation of these.
        resolution: Side of the images they were trained on, in pixels.
    """

    file: str
    url: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resolution: int


def pretrained(name: str) -> Pretrained | None:
    """Returns the weights of `timm/<model>` or `timm/<model>.<tag>`, None if there are none.

    Raises:
        ConfigError: If timm is not installed or has no such model.
    """
    config = _timm().get_pretrained_cfg(_known_model(name))
    if config.url:
        file, url = config.url.rpartition("/")[2], config.url
    elif config.hf_hub_id:
        # every model's file is called alike there
        file = f"{config.hf_hub_id.rpartition('/')[2]}.safetensors"
        there = config.hf_hub_filename or "model.safetensors"
        url = f"https://huggingface.co/{config.hf_hub_id}/resolve/main/{there}"
    else:
        return None
    return Pretrained(file, url, config.mean, config.std, config.input_size[-1])


def _timm() -> ModuleType:
    """Imports timm, of which the library knows nothing as long as nobody asks for its models."""
    try:
        import timm.models
    except ImportError:
        raise ConfigError(
            "backbones of timm need the package timm, which is not installed: "
            'pip install "timm>=1.0,<2"'
        ) from None
    return timm.models


def _known_model(name: str) -> str:
    """Returns timm's name for a backbone's."""
    models, model = _timm(), name.removeprefix(PREFIX)
    known = _models()
    if model in known:
        return model
    if models.is_model(model) and "." not in model:
        raise ConfigError(
            f"{name} is not made of timm's inverted-residual blocks: choose a model out of its "
            f"modules {', '.join(FAMILIES)}, such as timm/mobilenetv2_100"
        )
    near = difflib.get_close_matches(model, known, n=3)
    hint = f"; did you mean {' or '.join(PREFIX + match for match in near)}?" if near else ""
    raise ConfigError(
        f"unknown backbone {name!r}: choose a model out of timm's modules {', '.join(FAMILIES)}, "
        f"listed by timm.list_models(module={FAMILIES[0]!r}){hint}"
    )


@lru_cache
def _models() -> frozenset[str]:
    """Returns the names of the families' models, without and with the tags of their weights."""
    listed = _timm().list_models
    return frozenset(
        name
        for family in FAMILIES
        for tagged in (False, True)
        for name in listed(module=family, pretrained=tagged)
    )


def _own_name(names: dict[str, str], tensor: str) -> str:
    module, _, attribute = tensor.rpartition(".")
    return f"{names.get(module, module)}.{attribute}"


def _check_layers(name: str, body: nn.Module) -> None:
    """Refuses layers that cannot be replaced or counted."""
    head = body.get_submodule(HEAD)
    for path, module in body.named_modules():
        is_layer = not list(module.children()) or list(module.parameters(recurse=False))
        if is_layer and module is not head and type(module) not in _LAYERS:
            raise ConfigError(
                f"{name} cannot be used: its layer {path} is a {type(module).__name__}, for which "
                "there are no rules of memory and norms; choose a model of convolutions, "
                "BatchNorm and usual activations, such as timm/mobilenetv2_100"
            )


@dataclass
class _Trace:
    """What a body does, in the order of execution.

    Attributes:
        points: Beside which blocks a lite residual module can go.
        layers: The layers called.
        stride: Of the input of the last point to the image.
    """

    points: list[InsertionPoint] = field(default_factory=list)
    layers: list[nn.Module] = field(default_factory=list)
    stride: int = 1

    def block(
        self, name: str, block: InvertedBlock, inputs: tuple[Tensor, ...], output: Tensor
    ) -> None:
        """Adds the point of a block.

        A stage starts at each block that has no skip connection. Blocks before the first stage get
        no module, as the paper's first block.
        """
        stage = (self.points[-1].stage if self.points else -1) + (not block.has_skip)
        if stage >= 0:
            _, channels, _, size = inputs[0].shape
            stride = size // output.shape[-1]
            self.points.append(
                InsertionPoint(f"{name}.main", stage, channels, output.shape[1], stride)
            )
            self.stride = TRACED_RESOLUTION // size


def _traced(body: nn.Module) -> _Trace:
    """Runs a body of shapes only."""
    trace = _Trace()
    for name, module in body.named_modules():
        if isinstance(module, InvertedBlock):
            module.register_forward_hook(partial(trace.block, name))
        elif not list(module.children()):
            module.register_forward_hook(lambda layer, *_: trace.layers.append(layer))
    body.eval()(torch.empty(1, 3, TRACED_RESOLUTION, TRACED_RESOLUTION))
    return trace


def _all_normalized(layers: list[nn.Module]) -> bool:
    """Returns whether a norm comes behind every convolution without a bias."""
    normalized = False
    for layer in reversed(layers):
        if isinstance(layer, nn.Conv2d):
            if layer.bias is None and not normalized:
                return False
        elif not isinstance(layer, (SamePadding, nn.Identity)):
            normalized = isinstance(layer, nn.BatchNorm2d)
    return True
