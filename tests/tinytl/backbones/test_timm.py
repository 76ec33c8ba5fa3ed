import itertools
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tinytl.backbones import find_backbone
from tinytl.backbones.insertion import insert_lite_residuals
from tinytl.backbones.timm_body import SamePadding
from tinytl.backbones.weights import find_weights, load_backbone, read_weights, weights_info
from tinytl.checkpoint import write_tensors
from tinytl.config import LiteResidualConfig
from tinytl.errors import ConfigError, WeightsError
from tinytl.memory.modeled import modeled_bytes
from tinytl.methods import METHODS

timm = pytest.importorskip("timm", reason="needs the optional extra timm")
create_conv2d = pytest.importorskip("timm.layers").create_conv2d
save_file = pytest.importorskip("safetensors.torch").save_file

BOTH, BN_FROZEN = ("bn_frozen", "gn_ws"), ("bn_frozen",)
# model -> norms; between them they have every kind of block, padding, head and activation
MODELS = {
    "mobilenetv2_035": BOTH,
    "mobilenetv3_small_050": BOTH,
    "mobilenetv3_rw": BN_FROZEN,  # a last convolution with neither norm nor bias
    "mobilenetv4_conv_small_035": BOTH,
    "tf_mobilenetv3_small_minimal_100": BOTH,
    "mnasnet_small": BOTH,
    "fbnetc_100": BOTH,
    "mixnet_s": BOTH,
    "efficientnet_b0": BOTH,
    "efficientnet_es": BOTH,
    "test_efficientnet": BOTH,
}
# ours, of torchvision, that timm builds alike
TWINS = {"mobilenetv2_100": "mobilenet_v2", "mnasnet_100": "mnasnet"}


def of_timm(model: str) -> nn.Module:
    """A model with random statistics and scales, so that none can stand for another."""
    torch.manual_seed(0)
    network = timm.create_model(model, pretrained=False, num_classes=10)
    for name, value in network.state_dict().items():
        if name.endswith(("running_mean", "running_var", "bias")) or value.dim() == 1:
            value.copy_(torch.rand(value.shape) + 0.5)
    return network


@pytest.mark.parametrize("model", MODELS)
def test_outputs_are_those_of_timm_with_its_state_dict(model: str, tmp_path: Path) -> None:
    reference, path = of_timm(model), tmp_path / "weights.pth"
    write_tensors(path, reference.state_dict())
    network = find_backbone(f"timm/{model}").build("bn_frozen", 10, 0.2)
    replaced = load_backbone(network, read_weights(path, network), path)
    assert not replaced
    images = torch.randn(2, 3, 65, 60).double()
    with torch.no_grad():
        expected = reference.double().eval()(images)
        torch.testing.assert_close(network.double().eval()(images), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("model", "norms"), MODELS.items())
def test_norms_are_those_that_fit_the_convolutions(model: str, norms: tuple[str, ...]) -> None:
    assert find_backbone(f"timm/{model}").norms == norms


@pytest.mark.parametrize(("model", "twin"), TWINS.items())
def test_points_and_modeled_bytes_are_those_of_the_twin_in_torchvision(
    model: str, twin: str
) -> None:
    counts = []
    for name in (f"timm/{model}", twin):
        with torch.device("meta"):
            network = find_backbone(name).build("bn_frozen", 102, 0.0)
            points = [
                (point.stage, point.in_channels, point.out_channels, point.stride)
                for point in network.insertion_points
            ]
            insert_lite_residuals(network, LiteResidualConfig())
        found: list[object] = [points]
        for method in ("full", "tinytl-lite_residual+bias"):
            METHODS[method].apply(network)
            found.append(modeled_bytes(network, 224, 8))
        counts.append(found)
    assert counts[0] == counts[1]


def test_no_layer_is_hidden_from_the_count() -> None:
    with torch.device("meta"):
        network = find_backbone("timm/mobilenetv3_small_050").build("bn_frozen", 10, 0.0)
    kinds = {type(m).__name__ for m in network.modules() if not list(m.children())}
    assert kinds == {
        *("Conv2d", "FrozenBatchNorm2d", "Linear", "ReLU", "Hardswish", "Hardsigmoid"),
        *("Identity", "InputNormalization", "AdaptiveAvgPool2d", "Flatten", "Dropout"),
    }


CONVOLUTIONS = list(itertools.product((2, 3, 5), (1, 2), (1, 2), (7, 8, 9)))


@pytest.mark.parametrize(("kernel_size", "stride", "dilation", "size"), CONVOLUTIONS)
def test_same_padding_is_that_of_timm(
    kernel_size: int, stride: int, dilation: int, size: int
) -> None:
    options = {"stride": stride, "dilation": dilation, "padding": "same"}
    theirs = create_conv2d(2, 3, kernel_size, **options).double()
    ours = nn.Conv2d(2, 3, kernel_size, stride, dilation=dilation, bias=False).double()
    ours.weight = theirs.weight
    images = torch.randn(1, 2, size, size + 3).double()
    torch.testing.assert_close(ours(SamePadding(ours)(images)), theirs(images))


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("mobilenetv2_10", "did you mean timm/mobilenetv2_1"),
        ("mobilenetv2_100.imagenet", "did you mean timm/mobilenetv2_100"),
        ("hf-hub:someone/something", "unknown backbone"),
        ("resnet50", "not made of timm's inverted-residual blocks"),
        ("lcnet_050", "no inverted bottlenecks"),
        ("efficientnet_b0_gn", "its layer bn1 is a GroupNormAct"),
        ("efficientnet_cc_b0_4e", "is a CondConv2d"),
        ("mobilenetv4_hybrid_medium", "is a LayerScale2d"),
    ],
)
def test_other_models_are_refused_with_the_reason(model: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text) as raised:
        find_backbone(f"timm/{model}")
    assert "choose a model" in str(raised.value)


def test_nothing_imports_timm_until_it_is_asked_for_and_then_its_absence_is_told() -> None:
    program = """
import sys
from tinytl.backbones import find_backbone
from tinytl.errors import ConfigError
assert not any(name.partition(".")[0] == "timm" for name in sys.modules)
sys.modules["timm"] = None
try:
    find_backbone("timm/mobilenetv2_100")
except ConfigError as error:
    assert 'pip install "timm>=1.0,<2"' in str(error), error
else:
    raise SystemExit("found without timm")
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    "model",
    [
        "mobilenetv2_100",
        "tf_efficientnet_b0.in1k",
        "mobilenetv4_conv_small.e2400_r224_in1k",
        "test_efficientnet",
    ],
)
def test_weights_are_those_of_the_models_configuration(model: str) -> None:
    info = weights_info("imagenet", f"timm/{model}")
    config = timm.get_pretrained_cfg(model)
    assert info.norm == "bn_frozen"
    assert info.normalization == (config.mean, config.std)
    assert info.resolution == config.input_size[1]
    if config.url:
        assert info.urls == (config.url,)
        assert config.url.endswith(f"/{info.file}")
        assert info.digest is not None
        assert info.digest.removeprefix("sha256:") in info.file
    else:
        assert info.file == f"{config.hf_hub_id.removeprefix('timm/')}.safetensors"
        assert info.urls == (
            f"https://huggingface.co/{config.hf_hub_id}/resolve/main/model.safetensors",
        )
    assert weights_info(f"somewhere/{info.file}", f"timm/{model}") == info


def test_a_model_without_weights_has_random_ones_only() -> None:
    with pytest.raises(WeightsError, match="choose one of random"):
        weights_info("imagenet", "timm/mobilenetv2_035")


def test_missing_weights_say_which_file_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"put the file mobilenetv2_100_ra-b33bc2c4\.pth into"):
        find_weights("imagenet", "timm/mobilenetv2_100", tmp_path)


class TestSafetensors:
    BACKBONE = "timm/test_efficientnet"
    FILE = "test_efficientnet.r160_in1k.safetensors"

    def test_are_found_and_read(self, tmp_path: Path) -> None:
        state = of_timm("test_efficientnet").state_dict()
        save_file(state, tmp_path / self.FILE)
        network = find_backbone(self.BACKBONE).build("bn_frozen", 10, 0.0)
        path = find_weights("imagenet", self.BACKBONE, tmp_path)
        load_backbone(network, read_weights(path, network), path)
        assert torch.equal(network.classifier.weight, state["classifier.weight"])

    def test_of_damaged_bytes_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / self.FILE
        save_file({"a": torch.ones(1000)}, path)
        path.write_bytes(path.read_bytes()[:1000])
        network = find_backbone(self.BACKBONE).build("bn_frozen", 10, 0.0)
        with pytest.raises(WeightsError, match="damaged"):
            read_weights(path, network)

    def test_without_the_package_say_what_to_install(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        save_file({"a": torch.ones(1)}, tmp_path / self.FILE)
        network = find_backbone(self.BACKBONE).build("bn_frozen", 10, 0.0)
        monkeypatch.setitem(sys.modules, "safetensors.torch", None)
        with pytest.raises(WeightsError, match="pip install"):
            read_weights(tmp_path / self.FILE, network)


def test_tensors_of_a_network_have_their_own_names_already() -> None:
    network = find_backbone("timm/tf_mobilenetv3_small_minimal_100").build("bn_frozen", 10, 0.0)
    names: dict[str, Tensor] = network.state_dict()
    assert all(network.own_name(name) == name for name in names)
