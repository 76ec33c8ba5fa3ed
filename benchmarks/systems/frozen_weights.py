"""What frozen weights stored in 8 to 2 bits save, and what they cost in accuracy, beside float32.

    python -m benchmarks.systems.frozen_weights --weights DIR --data PATH [--json FILE] [--png FILE]

The same short fine-tuning of `proxyless_w0.25` on CIFAR-10, once for each way to store its frozen
weights. `weights` is what parameters, codes and codebooks or scales take in the process, `peak` all
that a training step used, and `error` how far the stored weights are off, relative to their size.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.systems.pictures import OURS, PLAIN, Point, scatter
from benchmarks.systems.report import finish, show
from tinytl.config import FinetuneConfig
from tinytl.finetune import finetune
from tinytl.nn.codes import STORAGES

BITS = (8, 6, 4, 3, 2)
SETTINGS: dict[str, Any] = {
    "dataset": "cifar10",
    "backbone": "proxyless_w0.25",
    "method": "tinytl-lite_residual+bias",
    "resolution": 96,
    "batch_size": 8,
    "learning_rate": 1e-3,
    "validation": 0,
    "epochs": 3,
    "train_images": 1600,
    "eval_images": 2000,
}


def ways(bits: Sequence[int]) -> Iterator[dict[str, Any] | None]:
    """Yields float32 first, then each storage with each number of bits."""
    yield None
    for storage in STORAGES:
        for each in bits:
            yield {"storage": storage, "bits": each}


def measure(config: FinetuneConfig, data: Path | None, weights: Path | None) -> dict[str, float]:
    """Returns bytes, error and test accuracy of one fine-tuning."""
    with tempfile.TemporaryDirectory() as directory:
        metrics = finetune(config, directory=Path(directory), data=data, weights=weights)
    return {
        "weights_bytes": metrics["memory.parameters_bytes"] + metrics["memory.buffers_bytes"],
        "peak_bytes": metrics["peak_bytes"],
        "error": metrics.get("frozen_weights.error", 0.0),
        "test_accuracy": metrics["test_accuracy"],
    }


def compare(
    settings: dict[str, Any], bits: Sequence[int], data: Path | None, weights: Path | None
) -> dict[str, Any]:
    """Returns the settings, and a row for each way to store the weights, float32 first."""
    rows: list[dict[str, Any]] = []
    for stored in ways(bits):
        config = FinetuneConfig.parse({**settings, "frozen_weights": stored})
        rows.append({"frozen_weights": stored, **measure(config, data, weights)})
    for row in rows:
        row["accuracy_difference"] = row["test_accuracy"] - rows[0]["test_accuracy"]
        for name in ("weights", "peak"):
            row[f"{name}_ratio"] = row[f"{name}_bytes"] / rows[0][f"{name}_bytes"]
    return {"settings": settings, "rows": rows}


def print_results(results: dict[str, Any]) -> None:
    """Prints the table."""
    columns = ["", "weights (MB)", "", "peak (MB)", "", "error (%)", "test accuracy (%)", ""]
    rows = []
    for row in results["rows"]:
        stored = row["frozen_weights"]
        rows.append(
            [
                _name(stored),
                f"{row['weights_bytes'] / 1e6:.2f}",
                f"{row['weights_ratio']:.2f} x",
                f"{row['peak_bytes'] / 1e6:.2f}",
                f"{row['peak_ratio']:.2f} x",
                f"{100 * row['error']:.1f}",
                f"{100 * row['test_accuracy']:.1f}",
                f"{100 * row['accuracy_difference']:+.1f}",
            ]
        )
    show(f"{results['settings']['backbone']}, {results['settings']['method']}", columns, rows)


def draw(results: dict[str, Any]) -> bytes:
    """Returns the picture of what weights take and what they cost in accuracy."""
    points = [
        Point(
            _name(row["frozen_weights"]),
            row["weights_bytes"] / 1e6,
            100 * row["test_accuracy"],
            OURS if row["frozen_weights"] else PLAIN,
        )
        for row in results["rows"]
    ]
    return scatter({"frozen weights": points}, "weights (MB)", "test accuracy (%)")


def _name(stored: dict[str, Any] | None) -> str:
    return f"{stored['storage']}, {stored['bits']} bits" if stored else "float32"


def main() -> int:
    """Measures, prints a table, and writes JSON and a picture where they were asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.systems.frozen_weights", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--weights", type=Path, help="directory with the ImageNet weights")
    parser.add_argument("--data", type=Path, help="CIFAR-10: a folder or an archive")
    parser.add_argument("--bits", type=int, nargs="+", default=BITS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--png", type=Path, help="file for the picture")
    given = parser.parse_args()

    def measured() -> dict[str, Any]:
        return compare({**SETTINGS, "seed": given.seed}, given.bits, given.data, given.weights)

    return finish(measured, print_results, given.json, png=given.png, draw=draw)


if __name__ == "__main__":
    sys.exit(main())
