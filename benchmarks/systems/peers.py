"""What training steps take beside what people use instead: memory, and time beside plain PyTorch.

    python -m benchmarks.systems.peers [--repeats N] [--only CASE ...] [--json FILE] [--png FILE]

The same network, weights and batch for all, random images, measured by the same meter, with
everything counted. Steps are taken in turn, and a ratio is that of their medians. `start` is what
the first step took: plans are made and code is compiled in it. `gradients` is how far those of the
first step are from plain PyTorch's in float64, relative to the norm of a parameter's gradient, at
most; plain PyTorch's own are that far by rounding. Weights in 8 bits are dense ones there.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from benchmarks.systems.memory import BASE, CLASSES, STORED, milliseconds, planned
from benchmarks.systems.memory_peers import (
    Change,
    checkpoint_blocks,
    compile_within,
    leave,
    select_what_is_kept,
)
from benchmarks.systems.pictures import OURS, PEER, PLAIN, Kind, Point, scatter
from benchmarks.systems.report import finish, show
from tinytl.backbones import Network
from tinytl.config import FinetuneConfig
from tinytl.engine.build import build_network
from tinytl.engine.execute import make_step
from tinytl.engine.step import make_optimizer
from tinytl.errors import TinyTLError
from tinytl.memory.measured import measure_step
from tinytl.nn.lite_residual import LiteResidual
from tinytl.nn.quantized import Quantized

PLAIN_NAME = "plain PyTorch"
PEERS: dict[str, Change] = {
    PLAIN_NAME: leave,
    "checkpoint per block": checkpoint_blocks,
    "approach of memsave_torch": select_what_is_kept,
    "torch.compile, budget 0.5": compile_within(0.5),
    "torch.compile, budget 0.25": compile_within(0.25),
}
# compiled code draws other random numbers, so there is nothing random in a step
SETTINGS: dict[str, Any] = {**BASE, "dropout": 0.0}
SAVING = {"ours, saving": {"execution": "saving"}}


@dataclass(frozen=True)
class Case:
    """What is trained.

    Attributes:
        title: What it is called in tables.
        net: Settings that all contenders share.
        ours: Settings of our own ways to run it, by name.
    """

    title: str
    net: Mapping[str, Any]
    ours: Mapping[str, Mapping[str, Any]]


CASES = {
    "full": Case(
        "everything, ProxylessNAS-Mobile",
        {"method": "full"},
        SAVING | {"ours, 66 MB": planned("66MB"), "ours, 45 MB": planned("45MB")},
    ),
    "L+B": Case(
        "lite residuals and biases, ProxylessNAS-Mobile",
        {"method": "tinytl-lite_residual+bias"},
        SAVING | {"ours, 66 MB": planned("66MB"), "ours, 36 MB, 8 bits": planned("36MB", **STORED)},
    ),
    "bias": Case(
        "biases, MobileNetV2, BatchNorm frozen",
        {"backbone": "mobilenet_v2", "norm": "bn_frozen", "method": "tinytl-bias"},
        SAVING | {"ours, 66 MB": planned("66MB"), "ours, 34 MB": planned("34MB")},
    ),
}


@dataclass(frozen=True)
class Contender:
    """A network that has taken its first step.

    Attributes:
        network: As it was changed.
        optimizer: Over its trained parameters.
        batch: Images and labels of every step.
        step: Takes another step.
        gradients: What the first update found, by parameter.
        start_seconds: What changes, plan and first step took.
    """

    network: Network
    optimizer: torch.optim.Optimizer
    batch: tuple[Tensor, Tensor]
    step: Callable[[], object]
    gradients: dict[str, Tensor]
    start_seconds: float


def start(config: FinetuneConfig, change: Change = leave) -> Contender:
    """Builds the network of a configuration, the same for all executions, and takes a step.

    Raises:
        ConfigError: If no plan keeps the configuration's bounds.
    """
    torch.manual_seed(0)
    network = build_network(config, CLASSES).network
    for module in network.modules():
        if isinstance(module, LiteResidual):  # at 0 it hides the rest of the module from the loss
            nn.init.uniform_(module.final_norm.weight)
    size = (config.batch_size, 3, config.resolution, config.resolution)
    batch = torch.randint(256, size, dtype=torch.uint8), torch.randint(CLASSES, size[:1])
    began = time.perf_counter()
    change(network)
    optimizer = make_optimizer(network, config)
    take = make_step(network, optimizer, config)
    gradients: dict[str, Tensor] = {}

    def look(*_: Any) -> None:
        for name, parameter in network.named_parameters():
            if parameter.grad is not None:
                gradients[name] = parameter.grad.clone()

    hook = optimizer.register_step_pre_hook(look)
    take(*batch)
    hook.remove()
    seconds = time.perf_counter() - began
    return Contender(network, optimizer, batch, lambda: take(*batch), gradients, seconds)


def exact_gradients(config: FinetuneConfig, stored: Network | None = None) -> dict[str, Tensor]:
    """Returns the gradients of the first step of plain PyTorch in float64.

    Args:
        config: Of plain PyTorch.
        stored: A network whose codes are the weights.
    """

    def change(network: Network) -> None:
        for name, layer in stored.named_modules() if stored else ():
            if isinstance(layer, Quantized):
                twin = network.get_submodule(name)
                twin.__class__ = nn.Conv2d  # the stored weight is standardized already
                twin.get_parameter("weight").data = layer.dense()
        network.double()

    return start(config, change).gradients


def difference(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """Returns the largest difference of a parameter's gradient, relative to its norm."""
    return max(
        float((found[name] - gradient).norm() / gradient.norm())
        for name, gradient in expected.items()
    )


def run(case: Case, repeats: int) -> dict[str, dict[str, Any]]:
    """Returns a row for each contender: numbers, or the reason why there are none."""
    torch.compiler.reset()  # what was compiled for the case before counts against its limits
    shared = {**SETTINGS, **case.net}
    plain = FinetuneConfig.parse(shared)
    configs = {name: FinetuneConfig.parse({**shared, **own}) for name, own in case.ours.items()}
    exact = exact_gradients(plain)
    rows: dict[str, dict[str, Any]] = {}
    contenders: dict[str, Contender] = {}
    for name in (*PEERS, *case.ours):
        print(f"  {name}", file=sys.stderr)
        config = configs.get(name, plain)
        try:
            contender = start(config, PEERS.get(name, leave))
        except (TinyTLError, TorchDynamoException) as error:
            rows[name] = {"reason": str(error).strip().splitlines()[0]}
            continue
        is_stored = config.frozen_weights is not None
        expected = exact_gradients(plain, contender.network) if is_stored else exact
        rows[name] = {
            "peak_bytes": _peak_bytes(contender),
            "gradient_difference": difference(contender.gradients, expected),
            "start_seconds": contender.start_seconds,
        }
        contenders[name] = contender
    with torch.compiler.set_stance("fail_on_recompile"):
        times = milliseconds([each.step for each in contenders.values()], repeats)
    for name, taken in zip(contenders, times, strict=True):
        rows[name] |= {"ms": taken, "ratio": taken / times[0]}
    return rows


def _peak_bytes(contender: Contender) -> int:
    network, optimizer, batch = contender.network, contender.optimizer, contender.batch
    with torch.compiler.set_stance("fail_on_recompile"):
        memory = measure_step(contender.step, network=network, optimizer=optimizer, inputs=batch)
    return memory.peak_bytes


def print_results(results: dict[str, Any]) -> None:
    """Prints a table for each case, and below it why a contender has no numbers."""
    columns = ["", "peak (MB)", "x plain", "ms", "x plain", "gradients", "start (s)"]
    for title, rows in results["cases"].items():
        plain = rows[PLAIN_NAME]
        table = [
            [
                name,
                f"{row['peak_bytes'] / 1e6:.1f}",
                f"{row['peak_bytes'] / plain['peak_bytes']:.2f}",
                f"{row['ms']:.0f}",
                f"{row['ratio']:.2f}",
                f"{100 * row['gradient_difference']:.1g} %",
                f"{row['start_seconds']:.0f}",
            ]
            for name, row in rows.items()
            if "reason" not in row
        ]
        show(title, columns, table)
        for name, row in rows.items():
            if "reason" in row:
                print(f"{name}: {row['reason']}")


def draw(results: dict[str, Any]) -> bytes:
    """Returns the picture of memory and time, a panel for each case."""
    panels = {
        title: [
            Point(name, row["peak_bytes"] / 1e6, row["ratio"], _kind(name))
            for name, row in rows.items()
            if "reason" not in row
        ]
        for title, rows in results["cases"].items()
    }
    return scatter(panels, "peak of a training step (MB)", "time, × plain PyTorch")


def _kind(name: str) -> Kind:
    if name == PLAIN_NAME:
        return PLAIN
    return PEER if name in PEERS else OURS


def main() -> int:
    """Measures, prints tables, and writes JSON and a picture where they were asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.systems.peers", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--repeats", type=int, default=7, help="steps of each that are timed [7]")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--png", type=Path, help="file for the picture")
    given = parser.parse_args()

    def measured() -> dict[str, Any]:
        cases = {}
        for case in (CASES[name] for name in given.only):
            print(case.title, file=sys.stderr)
            cases[case.title] = run(case, given.repeats)
        threads, repeats = torch.get_num_threads(), given.repeats
        return {"settings": SETTINGS, "threads": threads, "repeats": repeats, "cases": cases}

    return finish(measured, print_results, given.json, png=given.png, draw=draw)


if __name__ == "__main__":
    sys.exit(main())
