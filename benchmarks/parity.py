"""Compares networks, losses and gradients with tensors that the reference implementation computed.

    python -m benchmarks.parity FILE.pt ...

prints, as JSON, the largest relative error of each file's logits, loss and gradients in float64.
Exit code 0 only if all are at most 1e-6 and the trained parameters are the same.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tinytl.backbones import Network
from tinytl.backbones.insertion import insert_lite_residuals
from tinytl.backbones.proxyless import Architecture, ProxylessNAS
from tinytl.backbones.reference_names import from_reference, to_reference
from tinytl.checkpoint import load_tensors
from tinytl.config import LiteResidualConfig
from tinytl.engine.convert import convert
from tinytl.errors import TinyTLError, WeightsError
from tinytl.methods import METHODS

TOLERANCE = 1e-6
KEYS = (
    "arch_config", "n_classes", "lite_residual", "method", "norm",
    "input", "target", "state_dict", "logits", "loss", "grads",
)  # fmt: skip


def compare(path: Path, execution: str = "saving") -> dict[str, Any]:
    """Returns the largest relative error of logits, loss and gradients, and what else differs.

    The error of a tensor is its largest absolute difference over its largest absolute value.

    Raises:
        WeightsError: If the file is not a parity file.
    """
    case = _read(path)
    try:
        network = _network(case)
    except (TinyTLError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} is not a parity file: {error}") from None
    if execution == "saving":
        convert(network)
    logits = network(case["input"].double())
    loss = F.cross_entropy(logits, case["target"])
    loss.backward()
    trained = {to_reference(n): p for n, p in network.named_parameters() if p.requires_grad}
    gradients = {
        name: _relative_error(trained[name].grad, expected)
        for name, expected in case["grads"].items()
        if name in trained
    }
    worst = max(gradients, key=lambda name: gradients[name], default=None)
    return {
        "logits": _relative_error(logits, case["logits"]),
        "loss": abs(loss.item() - case["loss"]) / abs(case["loss"]),
        "gradients": gradients[worst] if worst else 0.0,
        "worst_gradient": worst,
        "trained_parameters": len(trained),
        "not_trained": sorted(case["grads"].keys() - trained.keys()),
        "wrongly_trained": sorted(trained.keys() - case["grads"].keys()),
    }


def passes(result: dict[str, Any]) -> bool:
    """Returns whether a comparison is within tolerance and the trained parameters agree."""
    errors = [result["logits"], result["loss"], result["gradients"]]
    differs = result["not_trained"] or result["wrongly_trained"]
    return all(error <= TOLERANCE for error in errors) and not differs


def _read(path: Path) -> dict[str, Any]:
    try:
        case = load_tensors(path, torch.device("cpu"))
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}; correct the path") from None
    except ValueError as error:
        raise WeightsError(f"{path} is not a parity file: {error}; get another") from None
    missing = [key for key in KEYS if not isinstance(case, dict) or key not in case]
    if missing:
        raise WeightsError(f"{path} is not a parity file: it lacks {', '.join(missing)}")
    return case


def _network(case: dict[str, Any]) -> Network:
    architecture = Architecture.from_published(case["arch_config"])
    network = ProxylessNAS(architecture, case["norm"], case["n_classes"], dropout=0.0)
    if case["lite_residual"]:
        modules = case["lite_residual"]
        config = LiteResidualConfig(
            width=modules["expand"], groups=modules["groups"], kernel_size=modules["kernel_size"]
        )
        insert_lite_residuals(network, config)
    network.load_state_dict({from_reference(n): v for n, v in case["state_dict"].items()})
    METHODS[case["method"]].apply(network)
    return network.double().train()


def _relative_error(actual: Tensor | None, expected: Tensor) -> float:
    if actual is None or actual.shape != expected.shape:
        return math.inf
    difference = (actual.detach().double() - expected.double()).abs().max().item()
    if not math.isfinite(difference):  # no number would be lost among the others' maximum
        return math.inf
    scale = expected.abs().max().item()
    return difference / scale if scale else difference


def _printable(result: dict[str, Any]) -> dict[str, Any]:
    """Returns the result with null for what is not finite, which JSON has no number for."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in result.items()
    }


def main() -> int:
    """Compares the files named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.pt")
    parser.add_argument("--execution", choices=["plain", "saving"], default="saving")
    arguments = parser.parse_args()
    try:
        results = {str(path): compare(path, arguments.execution) for path in arguments.files}
    except TinyTLError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps({path: _printable(result) for path, result in results.items()}, indent=2))
    return 0 if all(passes(result) for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
