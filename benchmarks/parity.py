"""Compares networks, losses and gradients with tensors that the reference implementation computed.

    python -m benchmarks.parity FILE.pt ...

prints, as JSON, the largest relative error of each file's logits, loss and gradients in float64.
Exit code 0 only if all are at most 1e-6 and the trained parameters are the same.
"""

import argparse
import json
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
from tinytl.config import LiteResidualConfig
from tinytl.engine.convert import convert
from tinytl.errors import TinyTLError, WeightsError
from tinytl.methods import METHODS

TOLERANCE = 1e-6


def compare(path: Path, execution: str = "saving") -> dict[str, Any]:
    """Returns the largest relative error of logits, loss and gradients, and what else differs.

    The error of a tensor is its largest absolute difference over its largest absolute value.

    Raises:
        WeightsError: If the file is not a parity file.
    """
    try:
        case = torch.load(path, map_location="cpu", weights_only=True)
        network = _network(case)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
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
    return {
        "logits": _relative_error(logits, case["logits"]),
        "loss": abs(loss.item() - case["loss"]) / abs(case["loss"]),
        "gradients": max(gradients.values()),
        "worst_gradient": max(gradients, key=lambda name: gradients[name]),
        "trained_parameters": len(trained),
        "not_trained": sorted(case["grads"].keys() - trained.keys()),
        "wrongly_trained": sorted(trained.keys() - case["grads"].keys()),
    }


def passes(result: dict[str, Any]) -> bool:
    """Returns whether a comparison is within tolerance and the trained parameters agree."""
    errors = [result["logits"], result["loss"], result["gradients"]]
    differs = result["not_trained"] or result["wrongly_trained"]
    return all(error <= TOLERANCE for error in errors) and not differs


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
    if actual is None:
        return float("inf")
    difference = (actual.detach().double() - expected.double()).abs().max().item()
    scale = expected.abs().max().item()
    return difference / scale if scale else difference


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
    print(json.dumps(results, indent=2))
    return 0 if all(passes(result) for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
