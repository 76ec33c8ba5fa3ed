"""What tracking in MLflow costs the driver of a sweep, and how fast runs are uploaded.

    python -m benchmarks.systems.tracking [--trials N] [--pause S] [--json FILE] [--png FILE]

A sweep whose trials only report runs in this process, each event on the disk before it goes on,
while the tracker's thread uploads to an sqlite store. Measured is the time of the driver's thread
in the tracker's callback, for each report. The peers log the same metrics as MLflow's fluent API
and Ray's `MLflowLoggerCallback` do, in the caller's thread, a tenth of the runs.

Then the same number of recorded trials is uploaded by nothing but the tracker, with what they
depend on, for the runs that it uploads in a second.

The callback's claim is for the 99th of 100 reports: Python lets a thread that computes hold up the
others for 5 ms, and the longest is shown too.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.systems.overhead import peak_bytes, site
from benchmarks.systems.pictures import OURS, PEER, Bar, bars
from benchmarks.systems.report import finish, show
from orchestrator.backends import local
from orchestrator.inputs.provenance import environment_of
from orchestrator.launch import tracker_of
from orchestrator.record import SweepRecord
from orchestrator.record.environment import Input, note_environment
from orchestrator.spec import SweepSpec
from orchestrator.sweep import Sweep
from orchestrator.tracking import Tracker
from orchestrator.tracking.store import STORE_FILE
from orchestrator.trial import TrialRequest
from tinytl.errors import TinyTLError
from tinytl.finetune import EpochReport

STUDY = "digits"
EPOCHS, PARAMS, METRICS = 3, 20, 15
PEERS = {"MLflow's fluent API": "fluent", "Ray's MLflowLoggerCallback": "ray"}
MOST_MILLISECONDS = 1.0
_SECONDS_TO_UPLOAD = 600.0


def spec(trials: int) -> SweepSpec:
    """Returns a sweep whose trials have as many settings as the peers' runs have params."""
    return SweepSpec.parse(
        {
            "name": "tracking",
            "datasets": [STUDY],
            "objectives": {"val_accuracy": "max", "peak_bytes": "min"},
            "params": {
                "backbone": "proxyless_tiny",
                "method": ["last", "tinytl-bias", "full"],
                "resolution": [24, 32, 40, 48],
                "batch_size": [4, 8],
                "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
            },
            "train": {"epochs": EPOCHS, "weights": "random", "validation": 0.2},
            "search": {"sampler": "random", "trials": trials, "workers": 1},
        }
    )


def run_trial(request: TrialRequest, pause: float) -> Iterator[EpochReport]:
    """A trial that only reports, as many metrics as a real one and a peer's."""
    size = peak_bytes(request.config)
    for epoch in range(1, EPOCHS + 1):
        time.sleep(pause)
        accuracy = request.config.learning_rate ** (1 / request.config.resolution) * epoch / EPOCHS
        others = {f"metric_{n}": n / epoch for n in range(METRICS - 2)}
        yield EpochReport(epoch, {"val_accuracy": accuracy, "peak_bytes": size, **others})


@dataclass
class Stopwatch:
    """Notes how long the tracker keeps the thread that notifies it."""

    tracker: Tracker
    seconds: list[float] = field(default_factory=list)

    def notify(self) -> None:
        """Notifies the tracker."""
        before = time.perf_counter()
        self.tracker.notify()
        self.seconds.append(time.perf_counter() - before)


def measure_driver(trials: int, pause: float) -> dict[str, Any]:
    """Returns what the tracker's callback costs the driver while the tracker uploads."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "run"
        sweep_spec = spec(trials)
        record = SweepRecord.create(directory, sweep_spec.resolved_yaml())
        note_environment(directory, environment_of(directory, site(), (_input(),)))
        tracker = tracker_of(directory, sweep_spec)
        watch = Stopwatch(tracker)
        sweep = Sweep(sweep_spec, record, site())
        sweep.subscribe(watch.notify)
        tracker.start()
        _wait_for_store(directory)
        local.run(sweep, run_trial=partial(run_trial, pause=pause))
        _close(tracker)
        record.close("finished")
    return _row("tracker's callback", watch.seconds, is_ours=True)


def measure_upload(trials: int) -> dict[str, Any]:
    """Returns how fast the tracker uploads what is recorded."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "run"
        sweep_spec = spec(trials)
        record = SweepRecord.create(directory, sweep_spec.resolved_yaml())
        note_environment(directory, environment_of(directory, site(), (_input(),)))
        warm_up = tracker_of(directory, sweep_spec)  # the store's tables, and MLflow's import
        warm_up.start()
        _close(warm_up)
        sweep = Sweep(sweep_spec, record, site())
        local.run(sweep, run_trial=partial(run_trial, pause=0.0))
        tracker = tracker_of(directory, sweep_spec)
        began = time.perf_counter()
        tracker.start()
        _close(tracker)
        seconds = time.perf_counter() - began
        record.close("finished")
    return {"who": "tracker's thread", "runs": trials, "runs_a_second": round(trials / seconds, 2)}


def measure_peer(name: str, kind: str, runs: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns what a report costs the caller of a peer, and how fast it logs runs."""
    counts = map(str, (runs, EPOCHS, PARAMS, METRICS))
    command = [sys.executable, "-m", "benchmarks.systems.tracking_peers", kind, *counts]
    output = subprocess.run(  # noqa: S603
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ).stdout
    found = json.loads(output.splitlines()[-1])
    speed = round(runs / found["seconds"], 2)
    return (
        _row(name, found["reports"], is_ours=False),
        {"who": name, "runs": runs, "runs_a_second": speed},
    )


def measure(trials: int, pause: float) -> dict[str, Any]:
    """Returns the time of a report, and the speed of uploads, of the tracker and its peers."""
    reports, uploads = [measure_driver(trials, pause)], [measure_upload(trials)]
    for name, kind in PEERS.items():
        report, upload = measure_peer(name, kind, max(2, trials // 10))
        reports.append(report)
        uploads.append(upload)
    return {
        "epochs": EPOCHS,
        "params": PARAMS,
        "metrics": METRICS,
        "pause_seconds": pause,
        "most_milliseconds": MOST_MILLISECONDS,
        "holds": all(
            row["milliseconds_99"] <= MOST_MILLISECONDS for row in reports if row["is_ours"]
        ),
        "reports": reports,
        "uploads": uploads,
    }


def print_results(results: Mapping[str, Any]) -> None:
    """Prints a row for each contender."""
    rows = [
        [row["who"], str(row["reports"]), *(f"{row[key]:.3f}" for key in _NUMBERS)]
        for row in results["reports"]
    ]
    show(
        f"A report of {results['metrics']} metrics (ms of the caller's thread)",
        ["", "reports", "mean", "median", "99 of 100", "longest"],
        rows,
    )
    speeds = [[r["who"], str(r["runs"]), f"{r['runs_a_second']:.1f}"] for r in results["uploads"]]
    points = results["epochs"] * results["metrics"]
    title = f"Uploads of runs with {results['params']} params, {points} points, to sqlite"
    show(title, ["", "runs", "runs a second"], speeds)
    holds = "yes" if results["holds"] else "NO"
    print(f"99 of 100 callbacks take at most {results['most_milliseconds']:g} ms: {holds}")


def draw(results: Mapping[str, Any]) -> bytes:
    """Returns the picture of a report's cost to the caller, and of the speed of uploads."""
    kinds = [OURS if row["is_ours"] else PEER for row in results["reports"]]
    panels = {
        "99 of 100 reports, ms of the caller": ("reports", "milliseconds_99"),
        "uploads, runs a second": ("uploads", "runs_a_second"),
    }
    return bars(
        {
            title: [
                Bar(row["who"], row[number], kind)
                for row, kind in zip(results[rows], kinds, strict=True)
            ]
            for title, (rows, number) in panels.items()
        }
    )


_NUMBERS = ("milliseconds", "milliseconds_50", "milliseconds_99", "milliseconds_100")


def _row(who: str, seconds: Sequence[float], *, is_ours: bool) -> dict[str, Any]:
    times = sorted(1e3 * each for each in seconds)
    found = (
        statistics.fmean(times),
        statistics.median(times),
        times[max(0, -(-99 * len(times) // 100) - 1)],
        times[-1],
    )
    numbers = {name: round(value, 4) for name, value in zip(_NUMBERS, found, strict=True)}
    return {"who": who, "reports": len(times), "is_ours": is_ours, **numbers}


def _input() -> Input:
    return Input("dataset", STUDY, "0" * 64, "", {"classes": 10}, {"dataset": STUDY})


def _wait_for_store(directory: Path) -> None:
    """Waits until the store is created, which takes longer than the trials."""
    deadline = time.monotonic() + _SECONDS_TO_UPLOAD
    while not (directory / STORE_FILE).exists() and time.monotonic() < deadline:
        time.sleep(0.05)


def _close(tracker: Tracker) -> None:
    if not tracker.close(_SECONDS_TO_UPLOAD):
        raise TinyTLError(str(tracker.problem))


def main() -> int:
    """Measures, prints a table, and writes JSON and a picture where they were asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.systems.tracking", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--trials", type=int, default=100, help="[100]")
    parser.add_argument("--pause", type=float, default=0.02, help="seconds of an epoch [0.02]")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--png", type=Path, help="file for the picture")
    given = parser.parse_args()
    return finish(
        lambda: measure(given.trials, given.pause),
        print_results,
        given.json,
        png=given.png,
        draw=draw,
    )


if __name__ == "__main__":
    sys.exit(main())
