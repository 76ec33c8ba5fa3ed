"""What training steps take: measured memory, and time beside stock PyTorch's step of the same net.

    python -m benchmarks.systems.memory [--repeats N] [--only NAME ...] [--json FILE] [--png FILE]

Random weights and images, batch 8, 102 classes: memory depends on shapes alone. Steps of both are
taken in turn, and the ratio is that of their medians. `goal` is what a row is held against, and
`predicted` what the planner said before the first step.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.systems.pictures import OURS, Point, scatter
from benchmarks.systems.report import finish, show
from tinytl.config import FinetuneConfig
from tinytl.engine.build import build_network
from tinytl.engine.execute import make_step, plan
from tinytl.engine.measure import measure
from tinytl.engine.step import make_optimizer
from tinytl.errors import TinyTLError

CLASSES = 102
BASE: dict[str, Any] = {
    "dataset": "random images",
    "weights": "random",
    "backbone": "proxyless_mobile",
    "norm": "gn_ws",
    "method": "tinytl-lite_residual+bias",
    "resolution": 224,
    "batch_size": 8,
    "execution": "plain",
}
STORED = {"frozen_weights": {"storage": "scale", "bits": 8}}
_MOBILENET: dict[str, Any] = {
    "backbone": "mobilenet_v2",
    "norm": "bn_frozen",
    "method": "tinytl-bias",
}


def planned(budget: str, **others: Any) -> dict[str, Any]:
    """Returns settings of an execution within a budget."""
    return {"execution": "planned", "memory_budget": budget, **others}


@dataclass(frozen=True)
class Case:
    """A row.

    Attributes:
        net: Settings that it shares with the step of stock PyTorch.
        execution: Settings of its own.
        goal_bytes: What its peak is held against; None for no goal.
        goal_ratio: What its time is held against, in times of stock PyTorch's.
    """

    net: dict[str, Any] = field(default_factory=dict)
    execution: dict[str, Any] = field(default_factory=dict)
    goal_bytes: float | None = None
    goal_ratio: float | None = None


CASES = {
    "L+B, plain": Case(),
    "L+B, saving": Case(execution={"execution": "saving"}),
    "L+B, 66 MB": Case(execution=planned("66MB"), goal_bytes=66e6, goal_ratio=1.4),
    "L+B, 36 MB": Case(execution=planned("36MB", **STORED), goal_bytes=36e6, goal_ratio=2.2),
    "L+B, 34.5 MB": Case(execution=planned("34.5MB", **STORED), goal_bytes=34.5e6),
    "L+B, 8-bit Adam": Case({"optimizer": "adam8bit"}, planned("24MB", **STORED), goal_bytes=24e6),
    "L+B, SGD": Case({"optimizer": "sgd"}, planned("19MB", **STORED), goal_bytes=19e6),
    "TinyTL-B": Case({"method": "tinytl-bias"}, planned("12.5MB", **STORED), goal_bytes=12.5e6),
    "L+B, 320 px": Case({"resolution": 320}, planned("42MB", **STORED), goal_bytes=42e6),
    "MobileNetV2 bias": Case(_MOBILENET, planned("34MB"), goal_bytes=34e6, goal_ratio=1.1),
    "MobileNetV2 bias, 8 bits": Case(
        _MOBILENET, planned("34MB", **STORED), goal_bytes=34e6, goal_ratio=1.1
    ),
}


def run(case: Case, repeats: int) -> dict[str, Any]:
    """Returns bytes, milliseconds and their ratio, or why there is no plan."""
    plain = FinetuneConfig.parse({**BASE, **case.net})
    ours = FinetuneConfig.parse({**BASE, **case.net, **case.execution})
    row: dict[str, Any] = {"goal_bytes": case.goal_bytes, "goal_ratio": case.goal_ratio}
    network = build_network(ours, CLASSES).network
    if ours.execution == "planned":
        try:
            found = plan(network, ours)
        except TinyTLError as error:
            return {**row, "no_plan": str(error)}
        row |= {"predicted_bytes": found.peak_bytes, "plan": str(found.choice.plan)}
    row["peak_bytes"] = measure(network, ours).peak_bytes
    times = milliseconds([_step(plain), _step(ours)], repeats)
    row |= {"plain_ms": times[0], "ms": times[1], "ratio": times[1] / times[0]}
    return row


def _step(config: FinetuneConfig) -> Callable[[], object]:
    network = build_network(config, CLASSES).network
    size = (config.batch_size, 3, config.resolution, config.resolution)
    images = torch.randint(256, size, dtype=torch.uint8)
    labels = torch.randint(CLASSES, (config.batch_size,))
    step = make_step(network, make_optimizer(network, config), config)
    return lambda: step(images, labels)


def milliseconds(steps: list[Callable[[], object]], repeats: int) -> list[float]:
    """Returns the median time of each, one taken after the other again and again."""
    taken: list[list[float]] = [[] for _ in steps]
    for repeat in range(repeats + 1):
        for step, times in zip(steps, taken, strict=True):
            start = time.perf_counter()
            step()
            if repeat:  # in the first, libraries still set themselves up
                times.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(times) for times in taken]


def print_results(results: dict[str, Any]) -> None:
    """Prints the table, and below it what could not be planned."""
    rows: dict[str, dict[str, Any]] = results["rows"]
    columns = ["", "peak (MB)", "goal", "predicted", "ms", "x plain", "goal"]
    table = [
        [
            name,
            _number(row.get("peak_bytes"), 1e6),
            _number(row["goal_bytes"], 1e6),
            _number(row.get("predicted_bytes"), 1e6),
            _number(row.get("ms"), 1, 0),
            _number(row.get("ratio"), 1, 2),
            _number(row["goal_ratio"], 1),
        ]
        for name, row in rows.items()
    ]
    show("training steps, batch 8", columns, table)
    for name, row in rows.items():
        if "no_plan" in row:
            print(f"{name}: {row['no_plan']}")


def _number(value: float | None, unit: float, digits: int = 1) -> str:
    return "" if value is None else f"{value / unit:.{digits}f}"


def draw(results: dict[str, Any]) -> bytes:
    """Returns the picture of memory and time."""
    points = [
        Point(name, row["peak_bytes"] / 1e6, row["ratio"], OURS)
        for name, row in results["rows"].items()
        if "no_plan" not in row
    ]
    axes = "peak of a training step (MB)", "time, × plain PyTorch"
    return scatter({"training steps, batch 8": points}, *axes)


def main() -> int:
    """Measures, prints a table, and writes JSON and a picture where they were asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.systems.memory", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--repeats", type=int, default=5, help="steps of each that are timed [5]")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="NAME")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--png", type=Path, help="file for the picture")
    given = parser.parse_args()

    def measured() -> dict[str, Any]:
        rows = {}
        for name in given.only:
            print(name, file=sys.stderr)
            rows[name] = run(CASES[name], given.repeats)
        return {"settings": BASE, "rows": rows}

    return finish(measured, print_results, given.json, png=given.png, draw=draw)


if __name__ == "__main__":
    sys.exit(main())
