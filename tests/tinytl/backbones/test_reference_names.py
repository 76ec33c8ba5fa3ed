"""Names of the reference, both ways."""

from pathlib import Path

import pytest
import torch

from tinytl.backbones import BACKBONES
from tinytl.backbones.architecture import Architecture
from tinytl.backbones.insertion import insert_lite_residuals
from tinytl.backbones.proxyless import ProxylessNAS
from tinytl.backbones.reference_names import from_reference, to_reference, without_modules
from tinytl.config import LiteResidualConfig

NAMES = [
    ("stem.conv.weight", "first_conv.conv.weight"),
    ("stem.norm.bias", "first_conv.bn.bias"),
    ("blocks.0.main.depthwise.conv.weight", "blocks.0.conv.depth_conv.conv.weight"),
    ("blocks.5.main.expand.norm.bias", "blocks.5.conv.inverted_bottleneck.bn.bias"),
    (
        "blocks.5.main.main.project.norm.weight",
        "blocks.5.conv.main_branch.point_linear.bn.weight",
    ),
    (
        "blocks.21.main.lite_residual.final_norm.weight",
        "blocks.21.conv.lite_residual.final_bn.weight",
    ),
    ("blocks.21.main.lite_residual.norm1.bias", "blocks.21.conv.lite_residual.bn1.bias"),
    ("features.norm.running_mean", "feature_mix_layer.bn.running_mean"),
    ("classifier.weight", "classifier.linear.weight"),
]


@pytest.mark.parametrize(("ours", "theirs"), NAMES)
def test_names_map_both_ways(ours: str, theirs: str) -> None:
    assert to_reference(ours) == theirs
    assert from_reference(theirs) == ours
    assert from_reference(ours) == ours


def test_older_files_name_the_main_branch_differently() -> None:
    older = "blocks.5.mobile_inverted_conv.inverted_bottleneck.bn.bias"
    assert from_reference(older) == "blocks.5.main.expand.norm.bias"


def test_every_name_of_a_network_maps_both_ways() -> None:
    network = BACKBONES["proxyless_tiny"].build("gn_ws", 10, 0.0)
    insert_lite_residuals(network, LiteResidualConfig())
    for name in network.state_dict():
        assert from_reference(to_reference(name)) == name
        assert without_modules(name) == name.replace(".main.main.", ".main.")


@pytest.mark.real_data
def test_the_names_are_exactly_those_of_the_reference(shared_dir: Path) -> None:
    for path in sorted((shared_dir / "reference" / "parity").glob("*.pt")):
        case = torch.load(path, weights_only=True)
        architecture = Architecture.from_published(case["arch_config"])
        network = ProxylessNAS(architecture, case["norm"], case["n_classes"], 0.0)
        if case["lite_residual"]:
            insert_lite_residuals(network, LiteResidualConfig())
        shapes = {to_reference(name): value.shape for name, value in network.state_dict().items()}
        assert shapes == {name: value.shape for name, value in case["state_dict"].items()}
