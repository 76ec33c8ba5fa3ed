"""ProxylessNAS networks are the published ones, and declare where modules can go."""

import json
from pathlib import Path

import pytest
import torch

from tinytl.backbones import BACKBONES
from tinytl.backbones.insertion import insert_lite_residuals, stage_widths
from tinytl.backbones.proxyless import ARCHITECTURES, Architecture
from tinytl.config import LiteResidualConfig
from tinytl.errors import ConfigError
from tinytl.nn.lite_residual import WithLiteResidual, make_divisible

PUBLISHED = [name for name in ARCHITECTURES if name != "proxyless_tiny"]


@pytest.mark.real_data
@pytest.mark.parametrize("name", PUBLISHED)
def test_compact_architectures_are_the_published_ones(name: str, shared_dir: Path) -> None:
    path = shared_dir / "reference" / "architectures" / f"{name}.json"
    assert Architecture.from_published(json.loads(path.read_text())) == ARCHITECTURES[name]


@pytest.mark.parametrize("config", [{}, {"first_conv": 3}, {"first_conv": {"out_channels": 8}}])
def test_a_malformed_published_configuration_is_refused(config: dict) -> None:
    with pytest.raises(ConfigError, match="not a published ProxylessNAS configuration"):
        Architecture.from_published(config)


def test_proxyless_mobile_has_as_many_parameters_as_published() -> None:
    with torch.device("meta"):
        network = BACKBONES["proxyless_mobile"].build("bn_frozen", 1000, 0.0)
    total = sum(p.numel() for p in network.parameters())
    assert round(total / 1e6, 1) == 4.1


def test_a_stage_of_width_zero_gets_no_module() -> None:
    network = BACKBONES["proxyless_tiny"].build("gn_ws", 10, 0.0)
    insert_lite_residuals(network, LiteResidualConfig(width=(0, 1, 0, 2)))
    stages = {
        point.stage
        for point in network.insertion_points
        if isinstance(network.get_submodule(point.path), WithLiteResidual)
    }
    assert stages == {1, 3}


# The reference's modules on ProxylessNAS at kernel 5: 3 where the nominal resolution is 4.
def test_kernel_sizes_shrink_with_the_nominal_resolution() -> None:
    network = BACKBONES["proxyless_w0.25"].build("gn_ws", 10, 0.0)
    insert_lite_residuals(network, LiteResidualConfig(kernel_size=5))
    kernels = [
        network.get_submodule(point.path).lite_residual.conv1.kernel_size[0]
        for point in network.insertion_points
    ]
    last_two_stages = [p.stage for p in network.insertion_points].index(4) + 1
    assert set(kernels[:last_two_stages]) == {5}
    assert set(kernels[last_two_stages:]) == {3}


BAD_MODULES = [
    (LiteResidualConfig(width=(1, 1)), "4 stages, but got 2 values"),
    (LiteResidualConfig(groups=7), "groups must divide"),
]


@pytest.mark.parametrize(("config", "message"), BAD_MODULES)
def test_impossible_modules_are_refused(config: LiteResidualConfig, message: str) -> None:
    network = BACKBONES["proxyless_tiny"].build("gn_ws", 10, 0.0)
    with pytest.raises(ConfigError, match=message):
        insert_lite_residuals(network, config)


def test_one_width_stands_for_all_stages() -> None:
    assert stage_widths(0.5, 3) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("channels", "expected"), [(4, 8), (8, 8), (11, 16), (12, 16), (19, 24), (32, 32), (20, 24)]
)
def test_make_divisible(channels: float, expected: int) -> None:
    assert make_divisible(channels) == expected
    assert expected % 8 == 0
    assert expected >= 0.9 * channels
