"""Networks specialized for a dataset, from files of the form in which they are published."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.specialized import STAGES, published, put
from tinytl.backbones import Network, find_backbone
from tinytl.backbones.architecture import Architecture
from tinytl.backbones.insertion import insert_lite_residuals
from tinytl.backbones.proxyless import ProxylessNAS
from tinytl.backbones.weights import find_weights, save_for_reference
from tinytl.config import FinetuneConfig
from tinytl.engine.build import build_network
from tinytl.errors import ConfigError, WeightsError
from tinytl.nn.lite_residual import WithLiteResidual


def config_of(**changes: Any) -> FinetuneConfig:
    values = {
        "dataset": "flowers102",
        "backbone": "specialized/flowers102",
        "method": "tinytl-lite_residual+bias",
        "resolution": 64,
        "batch_size": 8,
        "execution": "plain",
    }
    return FinetuneConfig.parse(values | changes)


@pytest.fixture
def source(tmp_path: Path) -> Network:
    """The network whose files are in `tmp_path`, with seven classes."""
    folder = put(tmp_path, published())
    network = ProxylessNAS(Architecture.from_published(published()), "gn_ws", 7, 0.0)
    insert_lite_residuals(network, None)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    save_for_reference(network, folder / "init")
    return network


def shapes_of_modules(network: Network) -> list[tuple[int, int]]:
    """Groups and kernel of each module."""
    modules = (m.lite_residual for m in network.modules() if isinstance(m, WithLiteResidual))
    return [(module.conv1.groups, module.conv1.kernel_size[0]) for module in modules]


def test_both_files_make_the_network(source: Network, tmp_path: Path) -> None:
    built = build_network(config_of(), 7, weights_directory=tmp_path)
    assert not built.head_replaced
    state = built.network.state_dict()
    assert state.keys() == source.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in source.state_dict().items())
    expected = [(groups, kernel) for _, _, words in STAGES for _, _, groups, kernel in words]
    assert shapes_of_modules(built.network) == expected
    assert build_network(config_of(), 5, weights_directory=tmp_path).head_replaced


def test_modules_asked_for_take_the_place_of_the_published(source: Network, tmp_path: Path) -> None:
    config = config_of(lite_residual={"width": [0, 0, 0, 0, 0, 1], "groups": 1})
    network = build_network(config, 7, weights_directory=tmp_path).network
    assert shapes_of_modules(network) == [(1, 3)]  # 5 does not fit where the maps are small


def test_what_is_declared_is_true_of_the_network(source: Network, tmp_path: Path) -> None:
    info = find_backbone("specialized/flowers102", tmp_path)
    network = info.build("gn_ws", 7, 0.0)
    assert {point.stage for point in network.insertion_points} == set(range(info.stages))
    insert_lite_residuals(network, None)
    assert network(torch.randn(1, 3, *[info.min_resolution] * 2)).shape == (1, 7)
    with pytest.raises(RuntimeError):
        network(torch.randn(1, 3, *[info.min_resolution - 1] * 2))


def test_without_files_it_is_said_what_to_put_where(tmp_path: Path) -> None:
    find_backbone("specialized/cars")  # of which nothing is read yet
    both = {"specialized/car/net.config", "specialized/car/init"}
    with pytest.raises(WeightsError) as described:
        build_network(config_of(backbone="specialized/cars"), 7, weights_directory=tmp_path)
    with pytest.raises(WeightsError) as weights:
        find_weights("imagenet", "specialized/cars", tmp_path)
    for error in (described, weights):
        text = str(error.value)
        assert text.startswith("put the files specialized/car/")
        assert set(text.split()[3:6:2]) == both
    put(tmp_path, published())
    with pytest.raises(WeightsError, match=r"^put the file specialized/flowers102/init into"):
        build_network(config_of(), 7, weights_directory=tmp_path)


def test_an_unknown_dataset_is_told() -> None:
    with pytest.raises(ConfigError, match="'specialized/flowers': choose one of specialized/airc"):
        find_backbone("specialized/flowers")


def block_with(**changes: Any) -> dict[str, Any]:
    block = published()["blocks"][1]
    main = block["conv"]["main"] | changes
    return {**block, "conv": {**block["conv"], "main": main}}


MALFORMED = {
    "another shape of network": (
        published(blocks=published()["blocks"][:8]), "6 stages and a stride of 32, but it has 4",
    ),
    "another activation": (published(blocks=[block_with(act_func="h_swish")]), "'h_swish'"),
    "another layer": (published(blocks=[block_with(name="ReducedMBConvLayer")]), "'ReducedMBConv"),
    "another norm": (published(bn={"eps": 1e-5}), "eps: 1e-05"),
    "no blocks": ({"first_conv": {"out_channels": 8}}, "feature_mix_layer"),
    "a list": ([], "malformed"),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_not_of_the_form_is_refused(case: str, tmp_path: Path) -> None:
    config, message = MALFORMED[case]
    put(tmp_path, config)
    with pytest.raises(WeightsError, match=rf"net\.config.*{message}"):
        build_network(config_of(), 7, weights_directory=tmp_path, pretrained=False)


def test_a_damaged_description_is_told(tmp_path: Path) -> None:
    (put(tmp_path, {}) / "net.config").write_bytes(b"\xff{")
    with pytest.raises(WeightsError, match=r"description .*net\.config: .*; get it again"):
        build_network(config_of(), 7, weights_directory=tmp_path, pretrained=False)


@pytest.mark.real_data
def test_a_published_description_is_understood(shared_dir: Path, tmp_path: Path) -> None:
    architecture = shared_dir / "reference" / "architectures" / "proxyless_mobile.json"
    put(tmp_path, json.loads(architecture.read_text()))
    network = build_network(config_of(), 7, weights_directory=tmp_path, pretrained=False).network
    assert len(shapes_of_modules(network)) == len(network.insertion_points)
