"""Weights: names both ways, where files are looked for, and what is refused."""

import pickle
from pathlib import Path

import pytest
import torch

from tinytl.backbones import BACKBONES, Network
from tinytl.backbones.insertion import insert_lite_residuals
from tinytl.backbones.reference_names import from_reference, to_reference, without_modules
from tinytl.backbones.weights import (
    WEIGHTS,
    find_weights,
    load_backbone,
    load_lite_residuals,
    read_weights,
    weights_info,
)
from tinytl.config import LiteResidualConfig
from tinytl.errors import WeightsError

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


def tiny(classes: int = 10, norm: str = "gn_ws") -> Network:
    return BACKBONES["proxyless_tiny"].build(norm, classes, 0.0)


def test_every_name_of_a_network_maps_both_ways() -> None:
    network = tiny()
    insert_lite_residuals(network, LiteResidualConfig())
    for name in network.state_dict():
        assert from_reference(to_reference(name)) == name
        assert without_modules(name) == name.replace(".main.main.", ".main.")


def test_a_state_under_the_references_names_round_trips(tmp_path: Path) -> None:
    source, target = tiny(), tiny()
    path = tmp_path / "weights.pth"
    state = {to_reference(name): value for name, value in source.state_dict().items()}
    torch.save({"state_dict": state}, path)
    load_backbone(target, read_weights(path), path)
    for name, value in source.state_dict().items():
        torch.testing.assert_close(target.state_dict()[name], value)


def test_modules_load_where_their_shape_fits_and_the_backbone_loads_anyway() -> None:
    source, target = tiny(), tiny(classes=7)
    insert_lite_residuals(source, LiteResidualConfig(width=1))
    torch.nn.init.ones_(source.get_submodule("blocks.1.main.lite_residual.final_norm").weight)
    state = source.state_dict()
    load_backbone(target, state, Path("source"))
    insert_lite_residuals(target, LiteResidualConfig(width=(1, 2, 1, 0)))
    stages = [point.stage for point in target.insertion_points]
    assert load_lite_residuals(target, state) == stages.count(0) + stages.count(2)
    loaded = target.get_submodule("blocks.1.main.lite_residual.final_norm").weight
    torch.testing.assert_close(loaded, torch.ones_like(loaded))
    assert target.classifier.out_features == 7


def test_a_state_of_another_network_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"source was made for another network: it lacks stem"):
        load_backbone(tiny(norm="bn_frozen"), tiny().state_dict(), Path("source"))
    with pytest.raises(WeightsError, match="has other shapes for stem"):
        wide = {n: torch.zeros(*v.shape, 2) for n, v in tiny().state_dict().items()}
        load_backbone(tiny(), wide, Path("source"))


class Evil:
    def __reduce__(self) -> tuple:
        return print, ("this must never be printed",)


BAD_FILES = {
    "empty": b"",
    "text": b"not a weights file",
    "truncated": None,
    "pickle": pickle.dumps(Evil()),
    "torch pickle": None,
    "no tensors": None,
    "a list": None,
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_corrupt_or_unsafe_file_is_refused(kind: str, tmp_path: Path, capsys) -> None:
    path = tmp_path / "weights.pth"
    if kind == "truncated":
        torch.save(tiny().state_dict(), path)
        path.write_bytes(path.read_bytes()[:-1000])
    elif kind == "torch pickle":
        torch.save({"state_dict": Evil()}, path)
    elif kind == "no tensors":
        torch.save({"a": 1}, path)
    elif kind == "a list":
        torch.save([torch.zeros(1)], path)
    else:
        path.write_bytes(BAD_FILES[kind])
    with pytest.raises(WeightsError, match=r"weights\.pth"):
        read_weights(path)
    assert "never be printed" not in capsys.readouterr().out


def test_weights_are_found_in_the_directory_given_and_in_that_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = WEIGHTS["imagenet"]["proxyless_w0.3"].file
    monkeypatch.setenv("TINYTL_CACHE", str(tmp_path / "cache"))
    with pytest.raises(WeightsError, match=f"put the file {name} into a directory"):
        find_weights("imagenet", "proxyless_w0.3", None)
    monkeypatch.setenv("TINYTL_WEIGHTS", str(tmp_path / "b"))
    for directory in ("b", "a"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / name).touch()
        found = find_weights("imagenet", "proxyless_w0.3", tmp_path / "a")
        assert found == tmp_path / directory / name
    assert find_weights(str(tmp_path / "a" / name), "proxyless_w0.3", None).parent.name == "a"


UNKNOWN = [
    ("imagenett", "proxyless_w0.3", "choose one of imagenet, random"),
    ("imagenet", "proxyless_gpu", "choose one of random"),
    ("rendered_digits", "proxyless_w0.3", "choose one of imagenet, random"),
]


@pytest.mark.parametrize(("weights", "backbone", "message"), UNKNOWN)
def test_unknown_weights_name_the_known_ones(weights: str, backbone: str, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        weights_info(weights, backbone)


@pytest.mark.real_data
@pytest.mark.parametrize("backbone", ["proxyless_w0.25", "proxyless_w0.3"])
def test_published_weights_load(backbone: str, shared_dir: Path) -> None:
    path = find_weights("imagenet", backbone, shared_dir / "weights")
    network = BACKBONES[backbone].build("bn_frozen", 1000, 0.0)
    state = read_weights(path)
    load_backbone(network, state, path)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, state[name])
