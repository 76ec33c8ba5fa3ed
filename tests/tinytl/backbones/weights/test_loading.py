"""Weights, from file to network and back, and what is refused."""

import pickle
from pathlib import Path

import pytest
import torch
import torchvision

from tinytl.backbones import BACKBONES, Network
from tinytl.backbones.architecture import Architecture
from tinytl.backbones.insertion import insert_lite_residuals
from tinytl.backbones.proxyless import ProxylessNAS
from tinytl.backbones.reference_names import to_reference
from tinytl.backbones.weights import (
    HALF,
    IMAGENET,
    find_weights,
    load_backbone,
    load_lite_residuals,
    read_weights,
    save_for_reference,
    weights_info,
)
from tinytl.config import LiteResidualConfig
from tinytl.errors import WeightsError


def tiny(classes: int = 10, norm: str = "gn_ws") -> Network:
    return BACKBONES["proxyless_tiny"].build(norm, classes, 0.0)


def test_a_state_under_the_references_names_round_trips(tmp_path: Path) -> None:
    source, target = tiny(), tiny()
    path = tmp_path / "weights.pth"
    state = {to_reference(name): value for name, value in source.state_dict().items()}
    torch.save({"state_dict": state}, path)
    assert not load_backbone(target, read_weights(path, target), path)
    for name, value in source.state_dict().items():
        torch.testing.assert_close(target.state_dict()[name], value)


def test_modules_load_where_their_shape_fits_and_the_backbone_loads_anyway() -> None:
    source, target = tiny(), tiny(classes=7)
    insert_lite_residuals(source, LiteResidualConfig(width=1))
    torch.nn.init.ones_(source.get_submodule("blocks.1.main.lite_residual.final_norm").weight)
    state = source.state_dict()
    assert load_backbone(target, state, Path("source"))
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
        read_weights(path, tiny())
    assert "never be printed" not in capsys.readouterr().out


@pytest.mark.real_data
@pytest.mark.parametrize("backbone", ["proxyless_w0.25", "proxyless_w0.3"])
def test_published_weights_load(backbone: str, shared_dir: Path) -> None:
    path = find_weights("imagenet", backbone, shared_dir / "weights")
    network = BACKBONES[backbone].build("bn_frozen", 1000, 0.0)
    state = read_weights(path, network)
    assert not load_backbone(network, state, path)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, state[name])


@pytest.mark.parametrize("modules", [False, True], ids=["plain", "with modules"])
def test_what_is_saved_for_the_reference_comes_back(modules: bool, tmp_path: Path) -> None:
    source, target = tiny(), tiny()
    if modules:
        insert_lite_residuals(source, LiteResidualConfig())
        insert_lite_residuals(target, LiteResidualConfig())
    path = tmp_path / "checkpoint"
    save_for_reference(source, path)
    content = torch.load(path, weights_only=True)
    assert content["state_dict"].keys() == {to_reference(name) for name in source.state_dict()}
    target.load_state_dict(read_weights(path, target))
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value)


def test_only_the_references_family_is_saved_for_it(tmp_path: Path) -> None:
    other = BACKBONES["resnet18"].build("bn_frozen", 10, 0.0)
    with pytest.raises(WeightsError, match="ProxylessNAS networks only, but got AdaptedNetwork"):
        save_for_reference(other, tmp_path / "checkpoint")


@pytest.mark.real_data
def test_what_the_reference_saved_is_saved_again_alike(shared_dir: Path, tmp_path: Path) -> None:
    (path,) = (shared_dir / "reference" / "parity").glob("*lite_residual*.pt")
    case = torch.load(path, weights_only=True)
    architecture = Architecture.from_published(case["arch_config"])
    network = ProxylessNAS(architecture, case["norm"], case["n_classes"], 0.0)
    insert_lite_residuals(network, LiteResidualConfig())
    network.load_state_dict(read_weights(path, network))
    save_for_reference(network, tmp_path / "checkpoint")
    saved = torch.load(tmp_path / "checkpoint", weights_only=True)["state_dict"]
    assert saved.keys() == case["state_dict"].keys()
    assert all(torch.equal(saved[name], value) for name, value in case["state_dict"].items())


LIBRARY = {
    "mobilenet_v2": "mobilenet_v2",
    "mobilenet_v3_small": "mobilenet_v3_small",
    "mnasnet_0.5": "mnasnet0_5",
    "efficientnet_b0": "efficientnet_b0",
    "resnet18": "resnet18",
    "resnet50": "resnet50",
}


@pytest.mark.parametrize("backbone", LIBRARY)
def test_torchvisions_states_load_and_compute_the_same(backbone: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    library = torchvision.models.get_model(LIBRARY[backbone], num_classes=7).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded(library, backbone, tmp_path)(images), library(images))


def test_inception_takes_what_torchvision_normalizes_itself(tmp_path: Path) -> None:
    library = torchvision.models.inception_v3(
        num_classes=7, aux_logits=True, transform_input=True, init_weights=False
    ).eval()
    images = torch.rand(1, 3, 107, 107)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in IMAGENET)
    with torch.no_grad():
        actual = loaded(library, "inception_v3", tmp_path)((images - 0.5) / 0.5)
        expected = library((images - mean) / std)
    assert weights_info("imagenet", "inception_v3").normalization == HALF
    torch.testing.assert_close(actual, expected)


def loaded(library: torch.nn.Module, backbone: str, directory: Path) -> Network:
    """Returns our network with the library's state, saved as torchvision's files were long ago.

    Gives the library's network statistics and biases that matter.
    """
    for name, value in library.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            torch.nn.init.normal_(value, std=0.1)
    state = library.state_dict()
    old = {name: value for name, value in state.items() if "num_batches_tracked" not in name}
    torch.save(old, directory / "library.pth")
    network = BACKBONES[backbone].build("bn_frozen", 7, 0.0).eval()
    state = read_weights(directory / "library.pth", network)
    assert not load_backbone(network, state, directory / "library.pth")
    return network
