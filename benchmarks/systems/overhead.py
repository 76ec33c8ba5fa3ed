"""What running trials costs besides the trials, and what many trials cost the driver.

    python -m benchmarks.systems.overhead [--trials N] [--seconds S] [--json FILE] [--png FILE] ...
    python -m benchmarks.systems.overhead --many [--trials N] [--json FILE] [--png FILE]

The first runs trials that sleep, on Ray by the orchestrator (each event on the disk before the
sweep goes on), by plain Ray Tune with default settings and by Optuna's threads, one after the
other, 8 minutes in all; the peers run a tenth of the trials. Time is from the begin of the first
trial to the last one's tell, beside the ideal: all workers busy with nothing but trials.

The second runs trials that end at once, in this process, for samplers whose time could grow with
the trials: the driver's processor time for each of the last 1,000 beside the first 1,000, and its
memory.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.systems.pictures import OURS, PEER, Bar, bars
from benchmarks.systems.report import finish, show
from orchestrator.backends import local
from orchestrator.inputs.site import Site
from orchestrator.record import SweepRecord, Told, read_events
from orchestrator.resources.kernel import kernel_number
from orchestrator.simulation.virtual import Clock, Notes
from orchestrator.spec import SweepSpec
from orchestrator.sweep import Sweep
from orchestrator.trial import TrialRequest
from tinytl.config import FinetuneConfig
from tinytl.finetune import EpochReport

STUDY = "digits"
SAMPLERS = ("memory_aware", "nsga2", "random")
PEERS = {"plain Ray Tune": "tune", "Optuna n_jobs": "optuna"}
MOST_TIMES_IDEAL = 1.10
GROWING = ("random", "nsga2")  # samplers whose driver is measured over many trials
CHUNK = 1000
MOST_TIMES_FIRST, MOST_TRIAL_BYTES = 2.0, 30_000


def spec(sampler: str, trials: int, workers: int) -> SweepSpec:
    """Returns a sweep of one epoch a trial, in a space that does not run out."""
    return SweepSpec.parse(
        {
            "name": "overhead",
            "datasets": [STUDY],
            "objectives": {"val_accuracy": "max", "peak_bytes": "min"},
            "params": {
                "backbone": "proxyless_tiny",
                "method": ["last", "tinytl-bias", "tinytl-lite_residual+bias", "full"],
                "resolution": [24, 32, 40, 48],
                "batch_size": [4, 8],
                "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
                "lite_residual": {"width": {"per_stage": [0, 0.5, 1, 2]}, "kernel_size": 3},
            },
            "train": {"epochs": 1, "weights": "random", "validation": 0.2},
            "search": {"sampler": sampler, "trials": trials, "workers": workers},
        }
    )


def site() -> Site:
    """Returns a place where memory is known at once."""
    return Site(
        data=None,
        weights=None,
        device="cpu",
        classes={STUDY: 10},
        predict=lambda config, classes, device, threads: peak_bytes(config),
    )


def peak_bytes(config: FinetuneConfig) -> int:
    """Returns what a trial is said to need."""
    return 400 * config.batch_size * config.resolution**2


def sleep(request: TrialRequest, seconds: float) -> Iterator[EpochReport]:
    """A trial that sleeps for its only epoch."""
    began = time.time()
    if seconds:
        time.sleep(seconds)
    size = peak_bytes(request.config)
    accuracy = request.config.learning_rate ** (1 / request.config.resolution)
    yield EpochReport(1, {"val_accuracy": accuracy, "peak_bytes": size, "began": began})


def seconds_of_ours(sampler: str, trials: int, seconds: float, workers: int) -> float:
    """Returns how long the orchestrator takes on Ray."""
    from orchestrator.backends import ray  # slow to import

    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "run"
        sweep = spec(sampler, trials, workers)
        record = SweepRecord.create(directory, sweep.resolved_yaml())
        ray.run(Sweep(sweep, record, site()), run_trial=partial(sleep, seconds=seconds))
        record.close("finished")
        told = [event for event, _ in read_events(directory) if isinstance(event, Told)]
    if len(told) != trials or any(event.state != "complete" for event in told):
        raise RuntimeError(f"{trials} trials must be complete, but got {told[-1:]!r}")
    return max(event.time for event in told) - min(event.metrics["began"] for event in told)


def seconds_of_peer(kind: str, trials: int, seconds: float, workers: int) -> float:
    """Returns how long a peer takes, in a process that has none of our settings."""
    name = "benchmarks.systems.overhead_peers"
    run = [sys.executable, "-m", name, kind, str(trials), str(seconds), str(workers)]
    ours = ("RAY_", "TUNE_")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    output = subprocess.run(  # noqa: S603
        run, check=True, stdout=subprocess.PIPE, text=True, env=environment
    ).stdout
    began, ended = json.loads(output.splitlines()[-1])
    return float(ended - began)


def measure_overhead(trials: int, seconds: float, workers: int) -> dict[str, Any]:
    """Returns how long each takes, beside the ideal."""
    runs: list[dict[str, Any]] = []

    def note(who: str, count: int, taken: float, *, is_ours: bool) -> None:
        times = taken / (count * seconds / workers)
        print(f"{who}: {count} trials in {taken:.1f} s, {times:.3f} times the ideal", flush=True)
        runs.append(
            {
                "who": who,
                "trials": count,
                "seconds": round(taken, 3),
                "times_ideal": round(times, 4),
                "is_ours": is_ours,
            }
        )

    for sampler in SAMPLERS:
        taken = seconds_of_ours(sampler, trials, seconds, workers)
        note(f"orchestrator, {sampler}", trials, taken, is_ours=True)
    for name, kind in PEERS.items():
        count = max(workers, trials // 10)
        note(name, count, seconds_of_peer(kind, count, seconds, workers), is_ours=False)
    return {
        "trial_seconds": seconds,
        "workers": workers,
        "most_times_ideal": MOST_TIMES_IDEAL,
        "holds": all(run["times_ideal"] <= MOST_TIMES_IDEAL for run in runs if run["is_ours"]),
        "runs": runs,
    }


@dataclass
class _Meter:
    """Notes time and memory before every trial of a sweep that trains nothing."""

    seconds: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)

    def run(self, request: TrialRequest) -> Iterator[EpochReport]:
        """A trial that ends at once."""
        self.seconds.append(time.process_time())
        if len(self.seconds) % CHUNK == 1:
            self.memory.append(kernel_number(Path("/proc/self/status"), "VmRSS") * 1024)
        return sleep(request, 0.0)


def measure_driver(sampler: str, trials: int) -> dict[str, Any]:
    """Returns the driver's time for each trial, of every thousand, and its memory."""
    meter = _Meter()
    local.run(Sweep(spec(sampler, trials + 1, 1), Notes(Clock()), site()), run_trial=meter.run)
    marks = meter.seconds[::CHUNK]
    milliseconds = [(b - a) / CHUNK * 1e3 for a, b in itertools.pairwise(marks)]
    bytes_ = (meter.memory[-1] - meter.memory[1]) / (trials - CHUNK)
    growth = milliseconds[-1] / milliseconds[0]
    return {
        "sampler": sampler,
        "milliseconds_a_trial": [round(value, 3) for value in milliseconds],
        "last_to_first": round(growth, 3),
        "bytes_a_trial": round(bytes_),
        "holds": growth <= MOST_TIMES_FIRST and bytes_ <= MOST_TRIAL_BYTES,
    }


def measure_many(trials: int) -> dict[str, Any]:
    """Returns what many trials cost the driver, for samplers that are fast."""
    fresh = multiprocessing.get_context("spawn")  # a process for each, whose memory is its own
    with ProcessPoolExecutor(1, mp_context=fresh, max_tasks_per_child=1) as pool:
        found = list(pool.map(measure_driver, GROWING, [trials] * len(GROWING)))
    return {
        "trials": trials,
        "most_times_first": MOST_TIMES_FIRST,
        "most_trial_bytes": MOST_TRIAL_BYTES,
        "samplers": found,
    }


def print_overhead(results: dict[str, Any]) -> None:
    """Prints a row for each contender."""
    title = f"Trials of {results['trial_seconds']:g} s on {results['workers']} workers"
    rows = [
        [run["who"], str(run["trials"]), f"{run['seconds']:.1f}", f"{run['times_ideal']:.3f}"]
        for run in results["runs"]
    ]
    show(title, ["", "trials", "seconds", "times the ideal"], rows)
    holds = "holds" if results["holds"] else "DOES NOT HOLD"
    print(f"orchestrator at most {results['most_times_ideal']:.2f} times the ideal: {holds}")


def draw_overhead(results: dict[str, Any]) -> bytes:
    """Returns the picture of each contender's time, with the bound for ours."""
    found = [
        Bar(run["who"], run["times_ideal"], OURS if run["is_ours"] else PEER)
        for run in results["runs"]
    ]
    return bars({"time, × the ideal": found}, results["most_times_ideal"])


def draw_many(results: dict[str, Any]) -> bytes:
    """Returns the picture of the driver's time, of the first trials and the last ones."""
    return bars(
        {
            f"{found['sampler']}, ms a trial": [
                Bar(f"{which} {CHUNK}", found["milliseconds_a_trial"][index], OURS)
                for which, index in (("first", 0), ("last", -1))
            ]
            for found in results["samplers"]
        }
    )


def print_many(results: dict[str, Any]) -> None:
    """Prints a row for each sampler."""
    rows = [
        [
            found["sampler"],
            f"{found['milliseconds_a_trial'][0]:.2f}",
            f"{found['milliseconds_a_trial'][-1]:.2f}",
            f"{found['last_to_first']:.2f}",
            f"{found['bytes_a_trial'] / 1e3:.1f}",
            "yes" if found["holds"] else "NO",
        ]
        for found in results["samplers"]
    ]
    columns = ["", f"first {CHUNK} (ms a trial)", f"last {CHUNK}", "ratio", "kB a trial", "holds"]
    show(f"Driver over {results['trials']} trials", columns, rows)


def main() -> int:
    """Measures, prints a table, and writes JSON and a picture where they were asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.systems.overhead", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--many", action="store_true", help="the driver's time over many trials")
    parser.add_argument("--trials", type=int, help="[200; with --many 10,000]")
    parser.add_argument("--seconds", type=float, default=0.5, help="that each sleeps [0.5]")
    parser.add_argument("--workers", type=int, default=2, help="[2]")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--png", type=Path, help="file for the picture")
    given = parser.parse_args()
    if given.many:
        return finish(
            lambda: measure_many(given.trials or 10_000),
            print_many,
            given.json,
            png=given.png,
            draw=draw_many,
        )
    return finish(
        lambda: measure_overhead(given.trials or 200, given.seconds, given.workers),
        print_overhead,
        given.json,
        png=given.png,
        draw=draw_overhead,
    )


if __name__ == "__main__":
    sys.exit(main())
