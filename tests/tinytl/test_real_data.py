"""The paper's order of methods, on real photographs and with real ImageNet weights."""

from pathlib import Path
from statistics import fmean

import pytest

from tinytl.config import FinetuneConfig
from tinytl.finetune import epochs, finetune

pytestmark = [pytest.mark.real_data, pytest.mark.integration]

# the best of a few learning rates for each method
LEARNING_RATES = {"last": 4e-3, "tinytl-bias": 1.5e-3, "tinytl-lite_residual+bias": 1.5e-3}
SEEDS = (0, 1)


def metrics_of(method: str, seed: int, shared_dir: Path, directory: Path) -> dict[str, float]:
    """The metrics of a short run on CIFAR-10."""
    config = FinetuneConfig(
        dataset="cifar10",
        backbone="proxyless_w0.25",
        method=method,
        learning_rate=LEARNING_RATES[method],
        resolution=64,  # 96 px take twice as long, and keep the order
        batch_size=16,
        epochs=4,
        train_images=1600,
        eval_images=3000,
        validation=0.0,
        seed=seed,
    )
    return finetune(
        config,
        directory=directory / f"{method}-{seed}",
        data=shared_dir / "data" / "cifar10-subset.zip",
        weights=shared_dir / "weights",
    )


def test_last_is_worse_than_bias_is_worse_than_lite_residual(
    shared_dir: Path, tmp_path: Path
) -> None:
    mean: dict[str, dict[str, float]] = {}
    for method in LEARNING_RATES:
        runs = [metrics_of(method, seed, shared_dir, tmp_path) for seed in SEEDS]
        mean[method] = {key: fmean(run[key] for run in runs) for key in runs[0]}
    last, bias, lite_residual = mean.values()
    # 54.9, 59.8 and 60.9 % when this was written; a seed moves them by about 0.6
    assert bias["test_accuracy"] > last["test_accuracy"] + 0.03
    assert lite_residual["test_accuracy"] > last["test_accuracy"] + 0.04
    assert lite_residual["test_accuracy"] > bias["test_accuracy"] - 0.005
    # the loss is less noisy than the accuracy of so short a run: 1.37, 1.24 and 1.18
    assert last["train_loss"] > bias["train_loss"] + 0.1
    assert bias["train_loss"] > lite_residual["train_loss"] + 0.03
    # and the price is low: 8.3 MB beside 5.7
    assert lite_residual["peak_bytes"] < 1.5 * bias["peak_bytes"]


def test_planned_steps_learn_what_stock_pytorch_learns(shared_dir: Path, tmp_path: Path) -> None:
    curves, peaks = {}, {}
    for execution in ("plain", "planned"):
        config = FinetuneConfig(
            dataset="cifar10",
            backbone="proxyless_w0.25",
            method="tinytl-lite_residual+bias",
            execution=execution,
            max_slowdown=2 if execution == "planned" else None,
            learning_rate=1.5e-3,
            resolution=96,
            batch_size=16,
            epochs=3,
            train_images=400,
            eval_images=500,
            validation=0.2,
        )
        reports = list(
            epochs(
                config,
                directory=tmp_path / execution,
                data=shared_dir / "data" / "cifar10-subset.zip",
                weights=shared_dir / "weights",
            )
        )
        curves[execution] = [report.metrics["train_loss"] for report in reports]
        peaks[execution] = reports[-1].metrics["peak_bytes"]
    # float32 sums in another order: differences begin at 1e-7 and grow with the steps. Plain steps
    # with two threads differ by 1.4e-3 from those with one, execution: saving by 2.8e-3
    assert curves["planned"] == pytest.approx(curves["plain"], rel=6e-3)
    assert peaks["planned"] < 0.3 * peaks["plain"]
