"""Exported networks: plain, with the outputs of the network that was trained, loaded anywhere."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

import tinytl.export
from tests import specialized
from tinytl.backbones import Network
from tinytl.checkpoint import read_tensors, write_tensors
from tinytl.config import FinetuneConfig
from tinytl.data import EvaluationTransform, batches, load_splits
from tinytl.engine.build import build_network
from tinytl.engine.quantize import leaves_frozen
from tinytl.errors import ConfigError, StorageError, TinyTLError, WeightsError
from tinytl.export import Exported, folder, read_trained, write_folder
from tinytl.export.plain import has_modules, plain_network, used_state
from tinytl.finetune import CHECKPOINT, finetune
from tinytl.methods import METHODS

L_B = "tinytl-lite_residual+bias"
STORED: list[dict[str, Any] | None] = [
    None, {"storage": "kmeans", "bits": 8}, {"storage": "kmeans", "bits": 3}, {"storage": "scale"},
]  # fmt: skip
STOCK = {
    nn.Conv2d, nn.Linear, nn.GroupNorm, nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.AvgPool2d, nn.Dropout,
    nn.Identity, nn.AdaptiveAvgPool2d,
}  # fmt: skip


def config_of(**changes: Any) -> FinetuneConfig:
    values = {
        "dataset": "digits", "backbone": "proxyless_tiny", "norm": "gn_ws", "weights": "random",
        "method": L_B, "resolution": 24, "batch_size": 8, "epochs": 1, "train_images": 16,
        "eval_images": 20, "validation": 0.2, "learning_rate": 1e-2,
    }  # fmt: skip
    return FinetuneConfig.parse(values | changes)


def images(count: int = 3, side: int = 24) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


def disturb(network: Network) -> None:
    """Makes every tensor another one, as training and pre-training do."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)


# --- the plain network ---


@pytest.mark.parametrize("stored", STORED, ids=str)
@pytest.mark.parametrize("norm", ["gn_ws", "bn_frozen"])
@pytest.mark.parametrize("method", METHODS)
def test_a_plain_network_has_the_outputs_of_the_trained(
    method: str, norm: str, stored: dict[str, Any] | None
) -> None:
    if stored is not None and not leaves_frozen(METHODS[method]):
        pytest.skip("it leaves no weights frozen")
    torch.manual_seed(0)
    config = config_of(method=method, norm=norm, frozen_weights=stored)
    trained = build_network(config, 10).network
    disturb(trained)
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-6)):
        trained = trained.to(dtype).eval()
        state = used_state(trained)
        plain = plain_network(config, 10, with_modules=has_modules(state)).to(dtype)
        plain.load_state_dict(state)
        with torch.no_grad():
            expected, found = trained(images()), plain(images())
        assert float((expected - found).abs().max()) <= tolerance * float(expected.abs().max())
    layers = [m for m in plain.modules() if "tinytl" not in type(m).__module__]
    kinds = {type(m) for m in plain.modules() if next(m.children(), None) is None}
    assert layers and {k.__name__ for k in kinds - STOCK} <= {
        "InputNormalization", "FrozenBatchNorm2d",
    }  # fmt: skip


@pytest.mark.parametrize("norm", ["gn_ws", "bn_frozen"])
@pytest.mark.parametrize(
    "backbone",
    ["mobilenet_v2_0.35", "mobilenet_v3_small", "mnasnet_0.5", "efficientnet_b0", "resnet18"],
)
def test_every_family_of_backbones_can_be_plain(backbone: str, norm: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = config_of(backbone=backbone, norm=norm, resolution=64)
    trained = build_network(config, 10).network.eval()
    write_tensors(tmp_path / "model.pt", used_state(trained))
    plain = plain_network(config, 10, with_modules=True)
    plain.load_state_dict(read_tensors(tmp_path / "model.pt", torch.device("cpu")))
    with torch.no_grad():
        expected, found = trained(images(side=64)), plain(images(side=64))
    assert float((expected - found).abs().max()) <= 1e-4 * float(expected.abs().max())


# --- the folder ---


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints of runs of an epoch."""
    configs = {
        "gn_ws, kmeans": config_of(frozen_weights={"storage": "kmeans"}),
        "bn_frozen, scale": config_of(norm="bn_frozen", frozen_weights={"storage": "scale"}),
        "bn_frozen, full": config_of(norm="bn_frozen", method="full"),
        "gn_ws, plain": config_of(execution="plain"),
        "gn_ws, sparse": config_of(method="sparse-update", sparse_update={"ratio": 0.125}),
        "gn_ws, checkpointing": config_of(method="full+checkpointing"),
    }
    root = tmp_path_factory.mktemp("runs")
    for name, config in configs.items():
        finetune(config, directory=root / name)
    return {name: root / name / CHECKPOINT for name in configs}


@pytest.fixture(scope="module")
def exported(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Exported:
    out = tmp_path_factory.mktemp("exported") / "model"
    trained = read_trained(runs["gn_ws, kmeans"])
    return write_folder(trained, out, formats=["state", "torch.export"], source="a | test")


RUNS = [
    "gn_ws, kmeans", "bn_frozen, scale", "bn_frozen, full", "gn_ws, plain", "gn_ws, sparse",
    "gn_ws, checkpointing",
]  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_it_is_as_accurate_as_the_run_reported(
    name: str, runs: dict[str, Path], tmp_path: Path
) -> None:
    trained = read_trained(runs[name])
    done = write_folder(trained, tmp_path / "out", formats=["state"])
    assert done.difference < 1e-5 and sorted(done.files) == sorted(
        path.name for path in (tmp_path / "out").iterdir()
    )
    network = tinytl.export.load(tmp_path / "out")
    config = trained.config
    splits = load_splits("digits", None, validation=config.validation, eval_images=20)
    assert splits.validation is not None
    (batch, labels), *rest = batches(
        splits.validation, range(20), 20, EvaluationTransform(config.resolution),
        device=torch.device("cpu"), look_ahead=0,
    )  # fmt: skip
    assert not rest
    right = network(batch).argmax(dim=1) == labels
    assert float(right.float().mean()) == pytest.approx(trained.metrics["val_accuracy"])


def test_it_says_what_it_is(exported: Exported) -> None:
    described = yaml.safe_load((exported.directory / "config.yaml").read_text())
    assert described["classes"] == [str(digit) for digit in range(10)]
    assert described["resolution"] == 24
    assert described["normalization"] == {"mean": [0.5] * 3, "std": [0.5] * 3}
    assert FinetuneConfig.parse(described["config"]).frozen_weights is not None
    memory = json.loads((exported.directory / "memory.json").read_text())
    assert memory["device"] == "cpu" and memory["peak_bytes"] == sum(memory["split"].values())
    assert 0 <= memory["metrics"]["test_accuracy"] <= 1
    text = (exported.directory / "MODEL.md").read_text()
    assert "tinytl.export.load" in text and "model.onnx" not in text and "| a \\| test |" in text


IN_ANOTHER_PROCESS = {
    "tinytl": "import tinytl.export; network = tinytl.export.load(sys.argv[1])",
    "torch alone": "sys.modules['tinytl'] = None; "
    "network = torch.export.load(sys.argv[1] + '/model.pt2').module()",
}


@pytest.mark.parametrize("how", IN_ANOTHER_PROCESS)
def test_one_line_loads_it_in_another_process(how: str, exported: Exported, tmp_path: Path) -> None:
    program = (
        f"import sys, torch; {IN_ANOTHER_PROCESS[how]}\n"
        "torch.save([network(each) for each in torch.load(sys.argv[2])], sys.argv[2])"
    )
    file = tmp_path / "batches.pt"
    given = [images(1), images(5)]
    torch.save(given, file)
    subprocess.run([sys.executable, "-c", program, exported.directory, file], check=True)
    network = tinytl.export.load(exported.directory)
    for batch, found in zip(given, torch.load(file), strict=True):
        assert found == pytest.approx(network(batch), abs=1e-5)


def test_onnx_has_the_same_outputs(runs: dict[str, Path], tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason="needs the extra [onnx]")
    runtime = pytest.importorskip("onnxruntime")
    write_folder(read_trained(runs["gn_ws, kmeans"]), tmp_path / "out", formats=["state", "onnx"])
    network = tinytl.export.load(tmp_path / "out")
    session = runtime.InferenceSession(tmp_path / "out" / "model.onnx")
    for batch in (1, 5):
        (found,) = session.run(None, {"images": images(batch).numpy()})
        assert torch.from_numpy(found) == pytest.approx(network(images(batch)), abs=1e-4)


def test_a_specialized_network_brings_its_description(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights"
    specialized.put(weights, specialized.published())
    config = config_of(backbone="specialized/flowers102", method="last", resolution=40)
    finetune(config, directory=tmp_path / "run", weights=weights)
    trained = read_trained(tmp_path / "run" / CHECKPOINT)
    write_folder(trained, tmp_path / "out", formats=["state"], weights=weights)
    weights.rename(tmp_path / "elsewhere")
    assert tinytl.export.load(tmp_path / "out")(images(side=40)).shape == (3, 10)


def test_an_earlier_checkpoint_lacks_names(runs: dict[str, Path], tmp_path: Path) -> None:
    state = read_tensors(runs["gn_ws, kmeans"], torch.device("cpu"))
    for key in ("classes", "device", "frozen"):
        del state[key]
    write_tensors(tmp_path / CHECKPOINT, state)
    trained = read_trained(tmp_path / CHECKPOINT)
    assert trained.classes == tuple(map(str, range(10))) and trained.device is None
    write_folder(trained, tmp_path / "out", formats=["state"])


# --- what goes wrong ---


def test_a_folder_is_whole_or_not_there(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, out = read_trained(runs["bn_frozen, full"]), tmp_path / "out"

    def full_disk(path: Path, content: bytes) -> None:
        if path.name == "memory.json":
            raise StorageError("the disk is full")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)

    with monkeypatch.context() as patch:
        patch.setattr(folder, "write_atomically", full_disk)
        with pytest.raises(StorageError):
            write_folder(trained, out, formats=["state"])
    assert not list(tmp_path.iterdir())
    (tmp_path / "out.partial").mkdir()  # of one that was killed
    (tmp_path / "out.partial" / "model.pt").write_text("half")
    (tmp_path / "out.partial" / "other").write_text("half")
    write_folder(trained, out, formats=["state"])
    assert [path.name for path in tmp_path.iterdir()] == ["out"] and not (out / "other").exists()


@pytest.mark.parametrize(
    ("formats", "error", "sentence"),
    [
        (["state", "torch"], ConfigError, "--format: unknown format 'torch': choose one of"),
        (["onnx"], ConfigError, "pip install onnx onnxscript"),
    ],
)
def test_formats_that_cannot_be_written(
    formats: list[str], error: type[Exception], sentence: str, runs: dict[str, Path],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(error) as raised:
        write_folder(read_trained(runs["gn_ws, plain"]), tmp_path / "out", formats=formats)
    assert sentence in str(raised.value) and not list(tmp_path.iterdir())


def test_what_was_not_asked_for_is_left_out_with_a_reason(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)

    def untraceable(*_: object, **__: object) -> None:
        raise RuntimeError("data-dependent\nand more")

    monkeypatch.setattr(torch.export, "export", untraceable)
    done = write_folder(read_trained(runs["gn_ws, plain"]), tmp_path / "out")
    assert set(done.left_out) == {"torch.export", "onnx"}
    assert done.left_out["torch.export"].endswith("cannot follow this network: data-dependent")
    assert "model.pt" in done.files


def test_other_weights_than_it_was_trained_with_are_refused(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    state = read_tensors(runs["gn_ws, kmeans"], torch.device("cpu"))
    state["config"]["seed"] += 1  # and so are random weights
    write_tensors(tmp_path / CHECKPOINT, state)
    with pytest.raises(WeightsError, match=r"are not those that .* began with"):
        write_folder(read_trained(tmp_path / CHECKPOINT), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_left_alone(runs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    for out in (tmp_path, tmp_path / "mine"):
        with pytest.raises(ConfigError, match="is there already"):
            write_folder(read_trained(runs["gn_ws, plain"]), out)


BROKEN = {
    "no folder": lambda out: (out / "model.pt").unlink(),
    "damaged": lambda out: (out / "model.pt").write_bytes(b"x"),
    "no description": lambda out: (out / "config.yaml").unlink(),
    "no YAML": lambda out: (out / "config.yaml").write_text("a: ["),
    "no mapping": lambda out: (out / "config.yaml").write_text("a"),
    "other keys": lambda out: (out / "config.yaml").write_text("a: 1"),
    "of another": lambda out: write_tensors(out / "model.pt", {"classifier.bias": torch.ones(2)}),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_folder_says_so(what: str, runs: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_folder(read_trained(runs["bn_frozen, full"]), out, formats=["state"])
    BROKEN[what](out)
    with pytest.raises(TinyTLError, match=str(out)):
        tinytl.export.load(out)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    write_tensors(tmp_path / "x.pt", {"weights": torch.ones(1)})
    with pytest.raises(StorageError, match="is no checkpoint of a run"):
        read_trained(tmp_path / "x.pt")
