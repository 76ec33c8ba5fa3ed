"""Which weights there are: every entry is one that its backbone can use."""

from pathlib import Path

import pytest
import torchvision

from tinytl.backbones import find_backbone
from tinytl.backbones.weights import IMAGENET, WEIGHTS, WeightsInfo, weights_info
from tinytl.download import verify
from tinytl.errors import WeightsError

ENTRIES = [
    (weights, backbone, info)
    for weights, backbones in WEIGHTS.items()
    for backbone, infos in backbones.items()
    for info in infos
]


@pytest.mark.parametrize(("weights", "backbone", "info"), ENTRIES, ids=str)
def test_an_entry_fits_its_backbone(weights: str, backbone: str, info: WeightsInfo) -> None:
    found = find_backbone(backbone)
    assert info.norm in found.norms
    assert info.resolution is None or info.resolution >= found.min_resolution
    assert weights_info(weights, backbone, info.norm) == info
    assert weights_info(f"somewhere/{info.file}", backbone, info.norm) == info
    for url in info.urls:
        assert url.startswith("https://")
        assert url.endswith(f"/{info.file}")


def test_files_have_names_of_their_own() -> None:
    files = [info.file for _, _, info in ENTRIES]
    assert len(set(files)) == len(files)


def test_the_norm_chooses_among_files() -> None:
    assert weights_info("imagenet", "proxyless_mobile").norm == "gn_ws"
    assert weights_info("imagenet", "proxyless_mobile").lite_residual
    assert weights_info("imagenet", "proxyless_mobile", "bn_frozen").file == "proxyless_mobile.pth"
    assert weights_info("imagenet", "proxyless_w0.3", "gn_ws").norm == "bn_frozen"


def test_torchvisions_tables_are_understood() -> None:
    weights = torchvision.models.ResNet50_Weights
    for name, expected in (("imagenet", weights.IMAGENET1K_V1), ("imagenet_v2", weights.DEFAULT)):
        info = weights_info(name, "resnet50")
        assert info.urls == (expected.url,)
        assert info.normalization == IMAGENET
        assert info.digest is not None
        assert info.digest.removeprefix("sha256:") in expected.url


UNKNOWN = [
    ("imagenett", "proxyless_w0.3", "choose one of imagenet, random"),
    ("imagenet", "proxyless_tiny", "choose one of rendered_digits, random"),
    ("imagenet", "mobilenet_v2_1.4", "choose one of random, .*; there are 'imagenet' weights for "),
    ("imagenet_v2", "resnet18", "choose one of imagenet, random, .* weights for resnet50"),
    ("rendered_digits", "proxyless_w0.3", "choose one of imagenet, random"),
]


@pytest.mark.parametrize(("weights", "backbone", "message"), UNKNOWN)
def test_unknown_weights_name_the_known_ones(weights: str, backbone: str, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        weights_info(weights, backbone)


@pytest.mark.real_data
@pytest.mark.parametrize("backbone", ["proxyless_w0.25", "proxyless_w0.3"])
def test_digests_are_those_of_the_published_files(backbone: str, shared_dir: Path) -> None:
    info = weights_info("imagenet", backbone)
    assert info.digest is not None
    verify(shared_dir / "weights" / info.file, info.digest)
