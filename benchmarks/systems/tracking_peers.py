"""Runs logged as MLflow and Ray come, in the caller's thread; see `benchmarks.systems.tracking`.

    python -m benchmarks.systems.tracking_peers fluent|ray RUNS EPOCHS PARAMS METRICS

Prints the seconds of each report, and those of the whole, as JSON. It is a process of its own
because the tracker changes some of MLflow's settings for its own process.
"""

import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Logger(Protocol):
    """Logs the runs of one sweep."""

    def start(self, run: str, params: dict[str, float]) -> None:
        """Begins a run."""

    def report(self, epoch: int, metrics: dict[str, float]) -> None:
        """Logs an epoch of the run that was begun last."""

    def end(self) -> None:
        """Ends that run."""


class Fluent:
    """MLflow's fluent API, as its tutorials have it."""

    def __init__(self, uri: str) -> None:
        import mlflow

        self._mlflow = mlflow
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment("peer")

    def start(self, run: str, params: dict[str, float]) -> None:
        """Begins a run."""
        self._mlflow.start_run(run_name=run)
        self._mlflow.log_params(params)

    def report(self, epoch: int, metrics: dict[str, float]) -> None:
        """Logs an epoch."""
        self._mlflow.log_metrics(metrics, step=epoch)

    def end(self) -> None:
        """Ends the run."""
        self._mlflow.end_run()


class RayCallback:
    """The callback that Ray Tune calls in its driver."""

    def __init__(self, uri: str) -> None:
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        self._callback = MLflowLoggerCallback(tracking_uri=uri, experiment_name="peer")
        self._callback.setup()

    def start(self, run: str, params: dict[str, float]) -> None:
        """Begins a run."""
        self._trial = _Trial(run, params)
        self._callback.log_trial_start(self._trial)

    def report(self, epoch: int, metrics: dict[str, float]) -> None:
        """Logs an epoch."""
        result = {**metrics, "training_iteration": epoch}
        self._callback.log_trial_result(epoch, self._trial, result)

    def end(self) -> None:
        """Ends the run."""
        self._callback.log_trial_end(self._trial)


@dataclass(frozen=True, eq=False)
class _Trial:
    """As much of Ray's trial as the callback reads."""

    name: str
    config: dict[str, float]

    def __str__(self) -> str:
        return self.name


LOGGERS: dict[str, Callable[[str], Logger]] = {"fluent": Fluent, "ray": RayCallback}


def measure(logger: Logger, runs: int, epochs: int, params: int, metrics: int) -> dict[str, object]:
    """Returns the seconds that each report and the whole took."""
    reports = []
    began = time.perf_counter()
    for run in range(runs):
        logger.start(f"run-{run}", {f"param_{n}": n / 7 for n in range(params)})
        for epoch in range(1, epochs + 1):
            values = {f"metric_{n}": n / epoch for n in range(metrics)}
            before = time.perf_counter()
            logger.report(epoch, values)
            reports.append(time.perf_counter() - before)
        logger.end()
    return {"reports": reports, "seconds": time.perf_counter() - began}


def main() -> None:
    """Logs runs in one of the two ways."""
    kind, *counts = sys.argv[1:]
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    logging.disable(logging.WARNING)
    runs, epochs, params, metrics = map(int, counts)
    with tempfile.TemporaryDirectory() as directory:
        logger = LOGGERS[kind](f"sqlite:///{directory}/mlflow.db")
        sys.stdout.write(json.dumps(measure(logger, runs, epochs, params, metrics)) + "\n")


if __name__ == "__main__":
    main()
