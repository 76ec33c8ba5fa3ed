"""Which weights of a network are stored as codes, and that it trains as with the dense ones."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tinytl.backbones import BACKBONES, Network
from tinytl.backbones.insertion import insert_lite_residuals
from tinytl.checkpoint import write_tensors
from tinytl.config import LiteResidualConfig
from tinytl.engine.convert import convert
from tinytl.engine.quantize import layer_stages, leaves_frozen, quantize_frozen
from tinytl.errors import ConfigError
from tinytl.methods import METHODS
from tinytl.nn.codes import STORAGES
from tinytl.nn.conv import SavingConv2d
from tinytl.nn.partial import PartialConv2d
from tinytl.nn.quantized import Quantized, QuantizedConv2d, used_weight

FREEZING = [name for name, method in METHODS.items() if leaves_frozen(method)]
BITS_OF_LAYERS = {"blocks.3.main.main.expand.conv": 3, "features.conv": 5}


def build(method: str = "tinytl-bias", norm: str = "gn_ws", modules: bool = True) -> Network:
    """A small network in float64, without zero scales, whose trained parameters are marked."""
    torch.manual_seed(0)
    network = BACKBONES["proxyless_tiny"].build(norm, 10, 0.0)
    if modules:
        insert_lite_residuals(network, LiteResidualConfig())
    for name, parameter in network.named_parameters():
        if not name.endswith("conv.weight"):
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    METHODS[method].apply(network)
    convert(network)
    return network.double()


def is_layer(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Conv2d | torch.nn.Linear)


def plain_twin(network: Network, method: str, norm: str) -> Network:
    """A network of float weights with the values that the quantized ones stand for."""
    twin = build(method, norm)
    state = {n: v for n, v in network.state_dict().items() if n in twin.state_dict()}
    for name, module in network.named_modules():
        if isinstance(module, Quantized):
            state[f"{name}.weight"] = module.dense()
            if isinstance(module, QuantizedConv2d):  # what is stored is standardized already
                twin.get_submodule(name).__class__ = SavingConv2d
    twin.load_state_dict(state)
    return twin


def gradients(network: Network) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    images, labels = torch.randn(3, 3, 33, 33, dtype=torch.float64), torch.tensor([1, 2, 3])
    F.cross_entropy(network(images), labels).backward()
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


# --- training ---


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("norm", ["gn_ws", "bn_frozen"])
@pytest.mark.parametrize("method", FREEZING)
def test_gradients_are_those_of_the_dense_weights(method: str, norm: str, storage: str) -> None:
    network = build(method, norm)
    assert quantize_frozen(network, storage=storage, bits=5).bits
    expected = gradients(plain_twin(network, method, norm))
    actual = gradients(network)
    assert actual.keys() == expected.keys()
    for name, gradient in actual.items():
        error = (gradient - expected[name]).abs().max() / expected[name].abs().max()
        assert error < 1e-10, name


@pytest.mark.parametrize("method", FREEZING)
def test_only_what_is_trained_moves(method: str) -> None:
    network = build(method)
    declared = {name for name, p in network.named_parameters() if p.requires_grad}
    quantize_frozen(network, bits=4)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trained = [p for p in network.parameters() if p.requires_grad]
    gradients(network)
    torch.optim.SGD(trained, lr=0.1).step()
    moved = {name for name, v in network.state_dict().items() if not torch.equal(v, before[name])}
    assert moved == declared


# --- which layers ---


@pytest.mark.parametrize("method", METHODS)
def test_every_frozen_weight_is_stored_and_nothing_else(method: str) -> None:
    network = build(method)
    frozen = {
        name
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)
        and not module.weight.requires_grad
        and not isinstance(module, PartialConv2d)
        # with 4 bits, a codebook of 128 bytes
        and module.weight.numel() / 2 + 128 < module.weight.nbytes
    }
    report = quantize_frozen(network, bits=4)
    assert set(report.bits) == frozen
    assert frozen == {n for n, m in network.named_modules() if isinstance(m, Quantized)}
    assert (report.error > 0) is leaves_frozen(METHODS[method]) is bool(frozen)
    assert "its weight is trained" in report.kept["classifier"]


def test_the_error_is_that_of_all_weights_together() -> None:
    network = build()
    before = {f"{n}.weight": used_weight(m) for n, m in network.named_modules() if is_layer(m)}
    report = quantize_frozen(network, bits=3)
    pairs = [(before[f"{n}.weight"], network.get_submodule(n).dense()) for n in report.bits]
    whole = torch.cat([weight.flatten() for weight, _ in pairs])
    changed = torch.cat([(weight - dense).flatten() for weight, dense in pairs])
    assert report.error == pytest.approx((changed.norm() / whole.norm()).item(), rel=1e-9)


def test_a_layer_that_would_not_be_smaller_stays() -> None:
    network = build().float()
    report = quantize_frozen(network, bits=8)
    small = [name for name, reason in report.kept.items() if "no smaller in 8 bits" in reason]
    assert small
    assert all(network.get_submodule(name).weight.numel() <= 341 for name in small)


def test_layers_may_have_bits_of_their_own() -> None:
    network = build()
    report = quantize_frozen(network, bits=BITS_OF_LAYERS)
    assert report.bits == BITS_OF_LAYERS
    for name, bits in BITS_OF_LAYERS.items():
        assert network.get_submodule(name).bits == bits


# --- stages ---


def test_stages_follow_the_insertion_points() -> None:
    stages = layer_stages(build())
    assert stages["stem.conv"] == stages["blocks.0.main.depthwise.conv"] == 0
    assert stages["features.conv"] == stages["classifier"] == 3
    for point in build().insertion_points:
        inside = {s for name, s in stages.items() if name.startswith(f"{point.path}.")}
        assert inside == {point.stage}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_stage_of_a_backbone_has_layers_and_they_never_go_back(backbone: str) -> None:
    with torch.device("meta"):
        network = BACKBONES[backbone].build(BACKBONES[backbone].norms[0], 10, 0.0)
    stages = list(layer_stages(network).values())
    assert stages == sorted(stages)
    assert set(stages) == set(range(BACKBONES[backbone].stages))


def test_each_stage_has_its_bits() -> None:
    network = build()
    report = quantize_frozen(network, bits=(3, 4, 5, 6))
    stages = layer_stages(network)
    assert {(stages[name], bits) for name, bits in report.bits.items()} == {
        (0, 3), (1, 4), (2, 5), (3, 6),
    }  # fmt: skip


# --- mistakes ---

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"storage": "kmean"}, "unknown storage 'kmean': choose one of kmeans, scale; did you mean"),
    ({"bits": 1}, "bits must be 2 to 8, but got 1"),
    ({"bits": 9}, "bits must be 2 to 8, but got 9"),
    ({"bits": (4, 4)}, "one for each of the backbone's 4 stages, but got 2 values"),
    ({"bits": {"stem.cnv": 4}}, "unknown convolution or linear layer 'stem.cnv'"),
    ({"bits": {"classifier": 4}}, "classifier: .* for its weight is trained; leave it out"),
]


@pytest.mark.parametrize(("options", "message"), WRONG, ids=str)
def test_a_mistake_is_told_and_nothing_is_changed(options: dict, message: str) -> None:
    network = build()
    names = network.state_dict().keys()
    with pytest.raises(ConfigError, match=message):
        quantize_frozen(network, **options)
    assert network.state_dict().keys() == names


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        quantize_frozen(build(), storage="zip", bits={"features.conv": 12, "nowhere": 4})
    assert len(caught.value.problems) == 3


def test_layers_that_were_not_converted_say_so() -> None:
    network = BACKBONES["proxyless_tiny"].build("bn_frozen", 10, 0.0)
    METHODS["last"].apply(network)
    report = quantize_frozen(network)
    assert report.bits == {}
    assert report.kept["stem.conv"] == "Conv2d has no quantized twin"


# --- files ---


@pytest.mark.parametrize("storage", STORAGES)
def test_a_state_reaches_a_network_quantized_anew(storage: str) -> None:
    source, target = build(), build()
    torch.manual_seed(7)
    for parameter in target.parameters():
        torch.nn.init.normal_(parameter)
    for network in (source, target):
        quantize_frozen(network, storage=storage, bits=3)
    target.load_state_dict(source.state_dict())
    images = torch.randn(2, 3, 33, 33, dtype=torch.float64)
    assert torch.equal(source(images), target(images))


@pytest.mark.parametrize(("bits", "share"), [(8, 0.25), (4, 0.125), (2, 0.0625)])
def test_a_file_of_the_network_is_smaller(bits: int, share: float, tmp_path: Path) -> None:
    def written(network: Network, name: str) -> int:
        write_tensors(tmp_path / name, network.state_dict())
        return (tmp_path / name).stat().st_size

    network = build(modules=False).float()
    whole = written(network, "whole")
    report = quantize_frozen(network, storage="scale", bits=bits)
    dense = sum(network.get_submodule(name).dense().nbytes for name in report.bits)
    scales = sum(network.get_submodule(name).scales.nbytes for name in report.bits)
    saved = whole - written(network, "stored")
    # each tensor of a file is padded to 64 bytes, and has a header
    assert saved == pytest.approx(dense * (1 - share) - scales, abs=1000 * len(report.bits))
    assert saved > (0.8 - share) * whole
