"""A configuration becomes the network it asks for, or a sentence for each rule it breaks."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tinytl.backbones import BACKBONES
from tinytl.backbones.insertion import insert_lite_residuals
from tinytl.backbones.proxyless import Architecture, Block, ProxylessNAS
from tinytl.backbones.reference_names import to_reference
from tinytl.backbones.shapes import check_groups
from tinytl.backbones.weights import HALF, IMAGENET, WEIGHTS, WeightsInfo, weights_info
from tinytl.config import FinetuneConfig, LiteResidualConfig
from tinytl.engine.build import build_network, check, norm_of
from tinytl.errors import ConfigError, WeightsError
from tinytl.methods import METHODS
from tinytl.nn.conv import SavingWSConv2d, WSConv2d
from tinytl.nn.lite_residual import WithLiteResidual

L_B = "tinytl-lite_residual+bias"
FILE = weights_info("rendered_digits", "proxyless_tiny").file


def config_of(**changes: Any) -> FinetuneConfig:
    values = {
        "dataset": "digits",
        "backbone": "proxyless_tiny",
        "weights": "random",
        "method": L_B,
        "resolution": 48,
        "batch_size": 8,
    }
    return FinetuneConfig.parse(values | changes)


# --- rules ---

BROKEN = [
    ({"method": "tinytl"}, "method: unknown method 'tinytl': choose one of bn.last, full, "),
    ({"backbone": "tiny"}, "backbone: unknown backbone 'tiny': choose one of efficientnet_b0"),
    ({"resolution": 16}, "resolution: proxyless_tiny takes images of at least 17 pixels, but got"),
    (
        {"weights": "rendered_digits", "norm": "bn_frozen"},
        "norm: the rendered_digits weights of proxyless_tiny were trained with gn_ws, but got "
        "bn_frozen; leave norm out, or take weights: random",
    ),
    (
        {"lite_residual": {"width": [1, 1]}},
        "lite_residual.width: proxyless_tiny has 4 stages, but got 2 widths",
    ),
    (
        {"weights": "imagenet"},
        "there are no weights 'imagenet' for backbone 'proxyless_tiny': choose one of "
        "rendered_digits, random",
    ),
    (
        {"backbone": "inception_v3", "resolution": 107, "train_last": 2},
        "train_last: must be 1 for inception_v3, but got 2: before its classifier come "
        "convolutions side by side",
    ),
    (
        {"method": "last", "lite_residual": {}},
        "lite_residual: the method last has no lite residual modules; leave it out, or choose "
        r"tinytl-lite_residual or tinytl-lite_residual\+bias",
    ),
    (
        {"frozen_weights": {"bits": [4, 6]}},
        "frozen_weights.bits: proxyless_tiny has 4 stages, but got 2 values",
    ),
    (
        {"frozen_weights": {}, "execution": "plain"},
        "frozen_weights: needs execution saving or planned, but got plain",
    ),
    (
        {"frozen_weights": {}, "method": "full"},
        "frozen_weights: the method full leaves no weights frozen",
    ),
    (
        {"method": "last", "sparse_update": {}},
        "sparse_update: does not belong to the method last; leave it out, or choose sparse-update",
    ),
    (
        {"method": "sparse-update", "sparse_update": {"blocks": 9}},
        "sparse_update.blocks: proxyless_tiny has 8 blocks, but got 9",
    ),
    (
        {"method": "sparse-update", "execution": "planned", "max_slowdown": 2},
        "execution: planned does not take the method sparse-update: it has no layers that are "
        "trained in part; choose execution: saving",
    ),
    (
        {"method": "full+checkpointing", "execution": "planned", "memory_budget": "5MB"},
        r"execution: planned does not take the method full\+checkpointing: it recomputes every "
        "block itself; choose method: full with a memory_budget",
    ),
]


@pytest.mark.parametrize(("changes", "message"), BROKEN, ids=lambda value: str(value)[:40])
def test_a_broken_rule_is_one_sentence(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}") as caught:
        check(config_of(**changes))
    assert len(caught.value.problems) == 1


def test_all_broken_rules_come_at_once() -> None:
    config = config_of(resolution=16, method="full", lite_residual={"width": [1, 1, 1]})
    with pytest.raises(ConfigError) as caught:
        build_network(config, 10)
    keys = [problem.partition(":")[0] for problem in caught.value.problems]
    assert keys == ["resolution", "lite_residual.width", "lite_residual"]


def test_a_group_of_a_single_value_is_told() -> None:
    block = Block(16, 24, 3, 1, 1, shortcut=False)
    prime = ProxylessNAS(Architecture(16, 11, (block,)), "gn_ws", 10, 0.0)
    check_groups(prime, 3)  # on maps of 2 x 2, a channel for each group is enough
    with pytest.raises(ConfigError, match=r"^resolution: at 2 pixels each group of features\.norm"):
        check_groups(prime, 2)


def test_groups_that_do_not_divide_are_told() -> None:
    with pytest.raises(ConfigError, match=r"groups must divide .* but got 3 for blocks\.1\.main"):
        build_network(config_of(lite_residual={"groups": 3}), 10)


# --- modules ---


def modules(network: torch.nn.Module) -> int:
    return sum(isinstance(module, WithLiteResidual) for module in network.modules())


@pytest.mark.parametrize("method", METHODS)
def test_modules_are_there_only_where_something_asks_for_them(method: str) -> None:
    points = len(BACKBONES["proxyless_tiny"].build("gn_ws", 10, 0.0).insertion_points)
    config = config_of(method=method)
    expected = points if METHODS[method].uses_lite_residual else 0
    assert modules(build_network(config, 10).network) == expected
    assert modules(build_network(config, 10, with_modules=True).network) == points


def test_weights_that_bring_modules_have_them_for_every_method(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    info = WeightsInfo(file=FILE, norm="gn_ws", normalization=HALF, lite_residual=True)
    monkeypatch.setitem(WEIGHTS["rendered_digits"], "proxyless_tiny", (info,))
    config = config_of(method="tinytl-bias", weights="rendered_digits", lite_residual={"groups": 4})
    network = build_network(config, 10, pretrained=False).network
    assert modules(network) == len(network.insertion_points)


def test_a_width_of_zero_leaves_a_stage_without() -> None:
    network = build_network(config_of(lite_residual={"width": (0, 1, 0, 2)}), 10).network
    with_one = {
        point.stage
        for point in network.insertion_points
        if isinstance(network.get_submodule(point.path), WithLiteResidual)
    }
    assert with_one == {1, 3}


# --- execution and norm ---


@pytest.mark.parametrize(("execution", "kind"), [("plain", WSConv2d), ("saving", SavingWSConv2d)])
def test_execution_chooses_the_layers(execution: str, kind: type) -> None:
    network = build_network(config_of(execution=execution), 10).network
    assert type(network.get_submodule("stem.conv")) is kind
    assert network.training


NORMS = [
    ({}, "gn_ws"),
    ({"norm": "bn_frozen"}, "bn_frozen"),
    ({"backbone": "proxyless_w0.25"}, "gn_ws"),
    ({"backbone": "mobilenet_v2"}, "bn_frozen"),
    ({"backbone": "mobilenet_v2", "norm": "gn_ws"}, "gn_ws"),
    ({"backbone": "specialized/cars"}, "gn_ws"),
    ({"backbone": "proxyless_w0.25", "weights": "imagenet"}, "bn_frozen"),
    ({"backbone": "proxyless_mobile", "weights": "imagenet"}, "gn_ws"),
]


@pytest.mark.parametrize(("changes", "norm"), NORMS, ids=str)
def test_the_norm_comes_with_weights_or_backbone_unless_asked_for(changes: dict, norm: str) -> None:
    assert norm_of(config_of(**changes)) == norm


def test_normalization_comes_with_the_weights() -> None:
    def normalization(backbone: str) -> tuple:
        config = config_of(backbone=backbone, weights="imagenet", resolution=96)
        with torch.device("meta"):
            return build_network(config, 10, pretrained=False).weights.normalization

    assert normalization("proxyless_w0.25") == HALF
    assert normalization("proxyless_mobile") == IMAGENET


# --- frozen weights ---


def test_frozen_weights_are_stored_as_the_configuration_says() -> None:
    stored = build_network(config_of(frozen_weights={"storage": "scale", "bits": (3, 4, 5, 6)}), 10)
    assert stored.frozen_weights is not None
    layer = stored.network.get_submodule("features.conv")
    assert (layer.storage, layer.bits) == ("scale", 6)
    assert build_network(config_of(), 10).frozen_weights is None


# --- weights, from file to network ---


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """The state in a weights file, under the reference's names, and nowhere but there."""
    torch.manual_seed(5)
    network = BACKBONES["proxyless_tiny"].build("gn_ws", 10, 0.0)
    insert_lite_residuals(network, LiteResidualConfig())
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    state = network.state_dict()
    torch.save({to_reference(name): value for name, value in state.items()}, tmp_path / FILE)
    monkeypatch.setenv("TINYTL_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TINYTL_CACHE", str(tmp_path / "cache"))
    return state


def equal_parts(network: torch.nn.Module, source: dict[str, torch.Tensor]) -> set[str]:
    """Names of the network's tensors that are those of the file."""
    own = network.state_dict()
    return {n for n, v in own.items() if v.shape == source[n].shape and torch.equal(v, source[n])}


@pytest.mark.parametrize("execution", ["plain", "saving"])
def test_a_file_reaches_every_tensor(execution: str, source: dict[str, torch.Tensor]) -> None:
    config = config_of(weights="rendered_digits", execution=execution)
    assert equal_parts(build_network(config, 10).network, source) == set(source)


def test_another_number_of_classes_gets_a_new_head(source: dict[str, torch.Tensor]) -> None:
    network = build_network(config_of(weights="rendered_digits"), 7).network
    head = {"classifier.weight", "classifier.bias"}
    assert network.classifier.out_features == 7
    assert equal_parts(network, source) == set(source) - head


def test_modules_start_from_random_weights_if_asked_to(source: dict[str, torch.Tensor]) -> None:
    config = config_of(weights="rendered_digits", lite_residual={"init": "random"})
    network = build_network(config, 10).network
    inside = {name for name in source if ".lite_residual." in name}
    assert equal_parts(network, source) == set(source) - inside
    for name in inside:
        if name.endswith("final_norm.weight"):  # so that training begins at the source network
            assert not network.state_dict()[name].any()


def test_without_pretrained_no_file_is_read(
    source: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    (tmp_path / FILE).unlink()
    config = config_of(weights="rendered_digits")
    assert not equal_parts(build_network(config, 10, pretrained=False).network, source)
    with pytest.raises(WeightsError, match="is not built yet"):
        build_network(config, 10)


def test_a_directory_given_goes_before_the_environment(
    source: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / FILE).write_bytes(b"damaged")
    config = config_of(weights="rendered_digits")
    with pytest.raises(WeightsError, match="given"):
        build_network(config, 10, weights_directory=tmp_path / "given")
