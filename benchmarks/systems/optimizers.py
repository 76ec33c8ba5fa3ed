"""What 8-bit moments of Adam save, and what they cost in accuracy, beside float32 ones.

    python -m benchmarks.systems.optimizers [--seeds N] [--json FILE] [--png FILE]

The same short fine-tunings of the built-in task, which need no download: with each optimizer once
for each seed, so that pairs differ in nothing else. `state` is what the optimizer keeps, `peak` all
that a training step used.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.systems.pictures import OURS, PLAIN, Bar, bars
from benchmarks.systems.report import finish, show
from tinytl.builtin import WEIGHTS_NAME, build_weights
from tinytl.config import FinetuneConfig
from tinytl.engine.threads import using_threads
from tinytl.finetune import finetune

OPTIMIZERS = ("adam", "adam8bit")
SETTINGS: dict[str, Any] = {
    "dataset": "digits",
    "backbone": "proxyless_tiny",
    "weights": WEIGHTS_NAME,
    "method": "tinytl-lite_residual+bias",
    "resolution": 40,
    "batch_size": 16,
    "learning_rate": 5e-3,
    "validation": 0,
    "epochs": 3,
}
METRICS = {
    "state_bytes": "memory.optimizer_bytes",
    "peak_bytes": "peak_bytes",
    "test_loss": "test_loss",
    "test_accuracy": "test_accuracy",
}


def measure(config: FinetuneConfig) -> dict[str, float]:
    """Returns bytes, loss and accuracy of one fine-tuning."""
    with tempfile.TemporaryDirectory() as directory, using_threads(1):
        metrics = finetune(config, directory=Path(directory))
    return {name: metrics[metric] for name, metric in METRICS.items()}


def compare(settings: dict[str, Any], seeds: Sequence[int]) -> dict[str, Any]:
    """Returns the settings, and a row for each optimizer: bytes, and numbers for each seed."""
    rows: list[dict[str, Any]] = []
    for optimizer in OPTIMIZERS:
        runs = [
            measure(FinetuneConfig.parse({**settings, "optimizer": optimizer, "seed": seed}))
            for seed in seeds
        ]
        row: dict[str, Any] = {name: [run[name] for run in runs] for name in METRICS}
        for name in ("state_bytes", "peak_bytes"):  # which seeds do not change
            row[name] = row[name][0]
        rows.append({"optimizer": optimizer, **row})
    first = rows[0]
    for row in rows:
        for name in ("test_loss", "test_accuracy"):
            pairs = zip(row[name], first[name], strict=True)
            row[f"{name}_differences"] = [ours - theirs for ours, theirs in pairs]
        row["state_ratio"] = row["state_bytes"] / first["state_bytes"]
    return {"settings": settings, "seeds": list(seeds), "rows": rows}


def print_results(results: dict[str, Any]) -> None:
    """Prints the table."""
    seeds = len(results["seeds"])
    columns = ["", "state (MB)", "", "peak (MB)", "test loss", "accuracy (%)", "by seed"]
    rows = [
        [
            row["optimizer"],
            f"{row['state_bytes'] / 1e6:.2f}",
            f"{row['state_ratio']:.2f} x",
            f"{row['peak_bytes'] / 1e6:.2f}",
            f"{statistics.fmean(row['test_loss']):.4f}",
            f"{100 * statistics.fmean(row['test_accuracy']):.1f}",
            " ".join(f"{100 * each:+.1f}" for each in row["test_accuracy_differences"]),
        ]
        for row in results["rows"]
    ]
    show(f"{results['settings']['backbone']}, mean of {seeds} seeds", columns, rows)


def draw(results: dict[str, Any]) -> bytes:
    """Returns the picture of memory and accuracy."""
    panels: dict[str, list[Bar]] = {"state (MB)": [], "peak (MB)": [], "accuracy (%)": []}
    for row, kind in zip(results["rows"], (PLAIN, OURS), strict=True):
        accuracy = 100 * statistics.fmean(row["test_accuracy"])
        numbers = row["state_bytes"] / 1e6, row["peak_bytes"] / 1e6, accuracy
        for group, number in zip(panels.values(), numbers, strict=True):
            group.append(Bar(row["optimizer"], number, kind))
    return bars(panels)


def main() -> int:
    """Measures, prints a table, and writes JSON and a picture where they were asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.systems.optimizers", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--seeds", type=int, default=3, help="fine-tunings with each [3]")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--png", type=Path, help="file for the picture")
    given = parser.parse_args()

    def measured() -> dict[str, Any]:
        build_weights()
        return compare(SETTINGS, range(given.seeds))

    return finish(measured, print_results, given.json, png=given.png, draw=draw)


if __name__ == "__main__":
    sys.exit(main())
