"""The paper's count, against the reference's own output and against a count by hand."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from tinytl.backbones import BACKBONES, Network
from tinytl.backbones.insertion import insert_lite_residuals
from tinytl.config import LiteResidualConfig
from tinytl.engine.convert import convert
from tinytl.engine.quantize import quantize_frozen
from tinytl.errors import ConfigError
from tinytl.memory.modeled import modeled_bytes
from tinytl.methods import METHODS


@pytest.mark.real_data
def test_every_row_of_the_reference(shared_dir: Path) -> None:
    rows = json.loads((shared_dir / "reference" / "memory_modeled.json").read_text())
    with torch.device("meta"):
        network = BACKBONES["proxyless_mobile"].build("gn_ws", 102, 0.0)
        insert_lite_residuals(network, LiteResidualConfig(width=1, groups=2, kernel_size=5))
    for row in rows:
        METHODS[row["method"]].apply(network)
        trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
        assert trained == row["trainable_parameters"]
        counted = modeled_bytes(network, row["resolution"], row["batch_size"])
        assert counted == pytest.approx(row["memory_cost_bytes"], rel=1e-6)
    assert len(rows) == 72


# Tables 2 and figures 3 and 5 of the paper, in MB.
PAPER = [
    ("last", 8, 224, 31), ("tinytl-bias", 8, 224, 32), ("bn+last", 8, 224, 192),
    ("full", 8, 224, 391), ("tinytl-lite_residual+bias", 8, 224, 37),
    ("tinytl-lite_residual+bias", 8, 320, 65), ("tinytl-lite_residual+bias", 1, 320, 17),
]  # fmt: skip


@pytest.mark.parametrize(("method", "batch_size", "resolution", "megabytes"), PAPER)
def test_the_papers_figures(method: str, batch_size: int, resolution: int, megabytes: int) -> None:
    with torch.device("meta"):
        network = BACKBONES["proxyless_mobile"].build("gn_ws", 102, 0.0)
        insert_lite_residuals(network, LiteResidualConfig())
    METHODS[method].apply(network)
    assert round(modeled_bytes(network, resolution, batch_size) / 1e6) == megabytes


# The reference's count of torchvision's networks, in MB, batch 8, 102 classes: network, resolution,
# full, bn+last, last.
TORCHVISION = [
    ("mobilenet_v2", 224, 447.7, 224.6, 47.7),
    ("mobilenet_v2_1.4", 224, 644.2, 323.0, 72.5),
    ("resnet34", 224, 320.1, 146.3, 52.0),
    ("resnet50", 224, 805.3, 393.7, 88.6),
    ("inception_v3", 299, 827.6, 313.9, 89.0),
]
# It charges ResNet-50's shared ReLU at its last call's size, and none of Inception's.
QUIRK_MB = {"resnet50": 2.4, "inception_v3": 9.3}


@pytest.mark.parametrize(("backbone", "resolution", "full", "bn_last", "last"), TORCHVISION)
def test_the_references_figures_for_torchvision(
    backbone: str, resolution: int, full: float, bn_last: float, last: float
) -> None:
    with torch.device("meta"):
        network = BACKBONES[backbone].build("bn_frozen", 102, 0.0)
    quirk = QUIRK_MB.get(backbone, 0.0)
    for method, megabytes in (("full", full), ("bn+last", bn_last), ("last", last)):
        METHODS[method].apply(network)
        counted = modeled_bytes(network, resolution, 8) / 1e6
        assert megabytes - 0.1 <= counted <= megabytes + 0.1 + (0 if method == "last" else quirk)


def test_without_its_activations_inception_is_counted_as_the_reference_does() -> None:
    with torch.device("meta"):
        network = BACKBONES["inception_v3"].build("bn_frozen", 102, 0.0)
    for module in network.modules():
        if hasattr(module, "act"):
            module.act = nn.Identity()
    for method, megabytes in (("full", 827.6), ("bn+last", 313.9), ("last", 89.0)):
        METHODS[method].apply(network)
        assert round(modeled_bytes(network, 299, 8) / 1e6, 1) == megabytes


class Small(Network):
    """A network that can be counted by hand: 4 x 4 images, two channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1, bias=False)
        self.norm = nn.GroupNorm(1, 2)
        self.act = nn.ReLU()
        self.classifier = nn.Linear(2, 5)
        self.insertion_points = ()
        self.residual_blocks = ("norm",)
        self.last_convolution = (self.conv, self.norm)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.act(self.norm(self.conv(input))).mean((2, 3)))


IMAGE, HIDDEN = 3 * 16 * 4, 2 * 16 * 4
BY_HAND = [
    # convolution: its input and output are the peak; all but the classifier is frozen
    ("last", 15 * 4 + 10, IMAGE + HIDDEN),
    # the norm keeps its input, holds it as the residual, and has it as its temporary
    ("bn+last", 19 * 4 + 6, max(IMAGE + HIDDEN, HIDDEN + HIDDEN)),
    ("full", 25 * 4, IMAGE + HIDDEN + HIDDEN),
]


@pytest.mark.parametrize("execution", ["plain", "saving"])
@pytest.mark.parametrize(("method", "parameter_bytes", "peak_bytes"), BY_HAND)
def test_a_count_by_hand(
    method: str, parameter_bytes: int, peak_bytes: int, execution: str
) -> None:
    network = Small()
    METHODS[method].apply(network)
    if execution == "saving":
        convert(network)
    kept = {"last": 0, "bn+last": HIDDEN, "full": IMAGE + HIDDEN}[method]
    at_activation = kept + HIDDEN
    bits = 0 if method == "last" else 2 * 16 // 8
    at_classifier = kept + bits + 2 * 4 + 5 * 4
    peak = max(peak_bytes, at_activation, at_classifier)
    assert modeled_bytes(network, 4, 1) == parameter_bytes + peak
    assert modeled_bytes(network, 4, 3) == parameter_bytes + 3 * peak


class Blocks(Small):
    """Two blocks, wide inside, behind one another."""

    def __init__(self) -> None:
        super().__init__()
        for name, channels in (("conv", 3), ("norm", 2)):
            wide = nn.Conv2d(channels, 8, 1, bias=False)
            narrow = nn.Conv2d(8, 2, 1, bias=False)
            setattr(self, name, nn.Sequential(wide, nn.ReLU(), narrow))
        self.act = nn.Identity()
        self.residual_blocks, self.block_names = (), ("conv", "norm")


WIDE, WIDE_BITS = 8 * 16 * 4, 8 * 16 // 8
# at the last convolution of the second block; of the first its inside is kept, or its input alone
RECOMPUTED = [
    ("full", IMAGE + WIDE_BITS + WIDE + HIDDEN + WIDE_BITS + WIDE + HIDDEN),
    ("full+checkpointing", IMAGE + HIDDEN + WIDE_BITS + WIDE + HIDDEN),
]


@pytest.mark.parametrize(("method", "peak_bytes"), RECOMPUTED)
def test_of_recomputed_blocks_the_inputs_count(method: str, peak_bytes: int) -> None:
    network = Blocks()
    METHODS[method].apply(network)
    parameter_bytes = 4 * (3 * 8 + 8 * 2 + 2 * 8 + 8 * 2 + 15)
    assert modeled_bytes(network, 4, 1) == parameter_bytes + peak_bytes


@pytest.mark.parametrize("storage", ["kmeans", "scale"])
def test_weights_stored_in_8_bits_are_the_papers_case(storage: str) -> None:
    def counted(bits: int | None) -> int:
        network = BACKBONES["proxyless_tiny"].build("gn_ws", 10, 0.0)
        METHODS["tinytl-bias"].apply(network)
        convert(network)
        if bits:
            stored.append(quantize_frozen(network, storage=storage, bits=bits).bits)
        sizes.append({n: p.numel() for n, p in network.named_parameters()})
        return modeled_bytes(network, 32, 4)

    stored: list[dict[str, int]] = []
    sizes: list[dict[str, int]] = []
    paper = counted(None)
    assert counted(8) == paper
    elements = [sizes[0][f"{name}.weight"] for name in stored[0]]
    assert counted(3) <= paper - sum(n - -(-n * 3 // 8) for n in elements)


def test_an_unknown_parametrized_layer_raises_with_its_name() -> None:
    network = Small()
    network.act = nn.PReLU()
    with pytest.raises(ConfigError, match="PReLU"):
        modeled_bytes(network, 4, 1)
