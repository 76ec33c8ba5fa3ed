"""The parity check passes what agrees, and finds what does not."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from benchmarks.parity import main
from tinytl.backbones.proxyless import Architecture, ProxylessNAS
from tinytl.backbones.reference_names import to_reference
from tinytl.methods import METHODS

ARCHITECTURE = {
    "first_conv": {"out_channels": 8},
    "feature_mix_layer": {"out_channels": 16},
    "blocks": [
        {
            "mobile_inverted_conv": {
                "in_channels": 8,
                "out_channels": 8,
                "kernel_size": 3,
                "stride": 1,
                "expand_ratio": 1,
            },
            "shortcut": None,
        },
    ],
}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs the check; returns its exit code, and what it printed to stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["parity", *map(str, arguments)])
        code = main()
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def case() -> dict[str, Any]:
    """A file's content, computed by a network of stock layers in float64."""
    torch.manual_seed(0)
    network = ProxylessNAS(Architecture.from_published(ARCHITECTURE), "gn_ws", 3, dropout=0.0)
    METHODS["tinytl-bias"].apply(network)
    state = {to_reference(name): value.clone() for name, value in network.state_dict().items()}
    network.double()
    images, target = torch.randn(2, 3, 16, 16), torch.tensor([0, 2])
    logits = network(images.double())
    loss = F.cross_entropy(logits, target)
    loss.backward()
    return {
        "arch_config": ARCHITECTURE,
        "n_classes": 3,
        "lite_residual": None,
        "method": "tinytl-bias",
        "norm": "gn_ws",
        "input": images,
        "target": target,
        "state_dict": state,
        "logits": logits.detach(),
        "loss": loss.item(),
        "grads": {
            to_reference(name): p.grad for name, p in network.named_parameters() if p.requires_grad
        },
    }


@pytest.fixture
def file(tmp_path: Path, case: dict[str, Any]) -> Callable[..., Path]:
    """Writes a parity file that differs from the right one in the keys given."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "parity.pt"
        torch.save(case | changes, path)
        return path

    return write


@pytest.mark.real_data
@pytest.mark.parametrize("execution", ["plain", "saving"])
def test_all_shipped_files_pass(execution: str, shared_dir: Path, run: Callable[..., Any]) -> None:
    files = sorted((shared_dir / "reference" / "parity").glob("*.pt"))
    code, out, _ = run(*files, "--execution", execution)
    results = json.loads(out)
    assert code == 0
    assert list(results) == [str(file) for file in files]
    assert len(files) == 3
    for result in results.values():
        assert max(result["logits"], result["loss"]) < 1e-12  # these are stored in float64
        assert result["gradients"] < 1e-7  # these in float32


@pytest.mark.parametrize("execution", ["plain", "saving"])
def test_what_agrees_passes(execution: str, file: Callable[..., Path], run: Any) -> None:
    code, out, _ = run(file(), "--execution", execution)
    (result,) = json.loads(out).values()
    assert code == 0
    assert result["gradients"] < 1e-12
    assert result["trained_parameters"] == 4 + 2  # four norms' biases, and the classifier


BIAS = "blocks.0.conv.depth_conv.bn.bias"


def without_bias(grads: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in grads.items() if name != BIAS}


DIFFERENT = {
    "a gradient that is off": (
        lambda case: {"grads": case["grads"] | {BIAS: case["grads"][BIAS] * (1 + 1e-5)}},
        ("worst_gradient", BIAS),
    ),
    "a gradient that is no number": (
        lambda case: {"grads": case["grads"] | {BIAS: case["grads"][BIAS] * math.nan}},
        ("gradients", None),
    ),
    "a gradient of another shape": (
        lambda case: {"grads": case["grads"] | {BIAS: case["grads"][BIAS][:1]}},
        ("gradients", None),
    ),
    "a parameter that must not be trained": (
        lambda case: {"grads": without_bias(case["grads"])},
        ("wrongly_trained", [BIAS]),
    ),
    "a parameter that must be trained": (
        lambda case: {
            "grads": {**case["grads"], "first_conv.conv.weight": torch.zeros(8, 3, 3, 3)}
        },
        ("not_trained", ["first_conv.conv.weight"]),
    ),
    "nothing trained": (lambda case: {"grads": {}}, ("worst_gradient", None)),
    "other logits": (lambda case: {"logits": case["logits"] + 1e-4}, ("gradients", 0.0)),
    "another loss": (lambda case: {"loss": case["loss"] + 1e-4}, ("gradients", 0.0)),
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_what_differs_is_found(
    kind: str, case: dict[str, Any], file: Callable[..., Path], run: Any
) -> None:
    change, (key, expected) = DIFFERENT[kind]
    code, out, _ = run(file(**change(case)))
    (result,) = json.loads(out).values()
    assert code == 1
    assert result[key] == (pytest.approx(expected, abs=1e-12) if expected == 0.0 else expected)


def test_one_bad_file_among_good_ones_fails(
    file: Callable[..., Path], tmp_path: Path, case: dict[str, Any], run: Any
) -> None:
    bad = tmp_path / "bad.pt"
    torch.save(case | {"loss": 0.5}, bad)
    assert run(file(), bad)[0] == 1


REFUSED = {
    "missing": None,
    "garbage": b"not a parity file",
    "another pickle": [1, 2, 3],
    "lacks a key": "loss",
    "another network": {"n_classes": 4},
    "another norm": {"norm": "bn_frozen"},
    "no architecture": {"arch_config": {}},
    "unknown method": {"method": "magic"},
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_parity_file_ends_in_one_sentence(
    kind: str, case: dict[str, Any], file: Callable[..., Path], tmp_path: Path, run: Any
) -> None:
    content, path = REFUSED[kind], tmp_path / "parity.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, list):
        torch.save(content, path)
    elif isinstance(content, str):
        torch.save({key: value for key, value in case.items() if key != content}, path)
    elif content is not None:
        file(**content)
    code, out, err = run(path)
    assert code == 2
    assert not out
    assert str(path) in err
    assert "Traceback" not in err
