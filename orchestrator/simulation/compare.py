"""Samplers and schedulers side by side on the same table, over many seeds."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.fronts.pareto import Point, hypervolume, reference_point
from orchestrator.inputs.site import Site
from orchestrator.record import Asked, Event, Reported, Told
from orchestrator.simulation.oracle import Oracle
from orchestrator.simulation.virtual import Clock, Notes, run
from orchestrator.spec import SweepSpec
from orchestrator.spec.space import Domain
from orchestrator.sweep import Sweep
from tinytl.config import FinetuneConfig


@dataclass(frozen=True)
class Trace:
    """How one simulated study went, a number for each of its trials in the order they ended.

    Attributes:
        hypervolume: Of the trials so far.
        seconds: Virtual time since the sweep began.
        epochs: Trained so far, in all trials.
    """

    hypervolume: np.ndarray
    seconds: np.ndarray
    epochs: np.ndarray


@dataclass(frozen=True)
class Contender:
    """A sampler with a scheduler, and how it did on one study.

    Attributes:
        study: The dataset.
        sampler: Its name.
        scheduler: Its name.
        traces: One for each seed.
    """

    study: str
    sampler: str
    scheduler: str
    traces: list[Trace]

    @property
    def name(self) -> str:
        """What it is called in tables and pictures."""
        return self.sampler if self.scheduler == "none" else f"{self.sampler}, {self.scheduler}"

    @property
    def by_trials(self) -> np.ndarray:
        """Hypervolume after each trial, a row for each seed; a search that ended stays as it is."""
        most = max(len(trace.hypervolume) for trace in self.traces)
        return np.array(
            [np.pad(t.hypervolume, (0, most - len(t.hypervolume)), "edge") for t in self.traces]
        )

    @property
    def final(self) -> np.ndarray:
        """The hypervolume that each seed ended with."""
        return self.by_trials[:, -1]

    @property
    def epochs(self) -> np.ndarray:
        """The epochs that each seed trained."""
        return np.array([trace.epochs[-1] for trace in self.traces])

    @property
    def seconds(self) -> np.ndarray:
        """The virtual time that each seed took."""
        return np.array([trace.seconds[-1] for trace in self.traces])

    def at(self, instants: np.ndarray) -> np.ndarray:
        """Returns the hypervolume at instants of virtual time, a row for each seed."""
        rows = []
        for trace in self.traces:
            ended = np.searchsorted(trace.seconds, instants, side="right")
            rows.append(np.concatenate([[0.0], trace.hypervolume])[ended])
        return np.array(rows)

    def trials_to(self, target: float) -> int | None:
        """Returns after how many trials the mean over the seeds reaches it; None: it does not."""
        reached = np.flatnonzero(self.by_trials.mean(axis=0) >= target)
        return int(reached[0]) + 1 if len(reached) else None


def compare(
    spec: SweepSpec,
    oracles: Mapping[str, Oracle],
    samplers: Sequence[str],
    schedulers: Sequence[str],
    *,
    seeds: int,
    workers: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Contender]:
    """Simulates every sampler with every scheduler, and returns how each did on each study.

    Args:
        spec: The sweep.
        oracles: How the trials of each study go.
        samplers: Names.
        schedulers: Names.
        seeds: How many sweeps of each, with the seeds 0, 1, ...
        workers: How many trials run at once.
        on_progress: Called with the number of sweeps done and their total.

    Raises:
        ConfigError: If the sweep is not valid with one of them.
    """
    pairs = list(itertools.product(samplers, schedulers))
    variants = [
        [
            with_search(spec, sampler=sampler, scheduler=scheduler, seed=seed)
            for seed in range(seeds)
        ]
        for sampler, scheduler in pairs
    ]
    contenders = []
    done = itertools.count(1)
    for (sampler, scheduler), seeded in zip(pairs, variants, strict=True):
        events = []
        for variant in seeded:
            events.append(simulate(variant, oracles, workers))
            on_progress(next(done), len(pairs) * seeds)
        for study, oracle in oracles.items():
            traces = [_trace(spec, study, oracle, each) for each in events]
            contenders.append(Contender(study, sampler, scheduler, traces))
    return contenders


def with_search(spec: SweepSpec, **settings: Any) -> SweepSpec:
    """Returns the sweep with other settings of its search.

    Raises:
        ConfigError: If it is not valid with them.
    """
    raw = spec.model_dump()
    search = {**raw["search"], **settings}
    if search["scheduler"] == "none":
        del search["halving"]
    return SweepSpec.parse({**raw, "search": search})


def simulate(spec: SweepSpec, oracles: Mapping[str, Oracle], workers: int) -> list[Event]:
    """Runs one sweep in virtual time, and returns its events."""
    clock = Clock()
    notes = Notes(clock)
    site = Site(
        data=None,
        weights=None,
        device="cpu",
        classes=dict.fromkeys(oracles, 0),  # which only a real prediction asks for
        predict=lambda config, classes, device, threads: _peak_bytes(spec, oracles, config),
    )
    run(Sweep(spec, notes, site, clock=clock), notes, oracles, workers)
    return notes.events()


def _peak_bytes(spec: SweepSpec, oracles: Mapping[str, Oracle], config: FinetuneConfig) -> int:
    """Returns what a trial of this configuration measures."""
    settings = config.model_dump()

    def pick(name: str, domain: Domain) -> Any:
        value: Any = settings
        for part in name.split("."):
            value = value[int(part) if part.isdecimal() else part]
        return value

    return oracles[config.dataset].peak_bytes(spec.space.walk(pick))


def _trace(spec: SweepSpec, study: str, oracle: Oracle, events: Sequence[Event]) -> Trace:
    """Returns what the events say about one study."""
    reference = _reference(spec, oracle)
    asked: dict[str, Asked] = {}
    complete: list[Point] = []
    epochs = 0
    numbers: list[tuple[float, float, int]] = []
    for event in events:
        if isinstance(event, Asked) and event.study == study:
            asked[event.trial] = event
        elif isinstance(event, Reported):
            epochs += event.trial in asked
        elif isinstance(event, Told) and event.trial in asked:
            if event.state == "complete":
                complete.append(Point(event.trial, asked[event.trial].params, event.metrics))
            volume = hypervolume(complete, spec.objectives, reference)
            numbers.append((volume, event.time, epochs))
    columns = np.array(numbers, dtype=np.float64).reshape(-1, 3).T
    return Trace(*columns)


def _reference(spec: SweepSpec, oracle: Oracle) -> dict[str, float]:
    """Returns the point from which all simulations of a study are measured.

    It is the table's where the sweep has no limit: what one search has found must not move it.
    """
    recorded = [
        Point("", row.params, {"val_accuracy": row.accuracy[-1], "peak_bytes": row.peak_bytes})
        for row in oracle.complete
        if row.peak_bytes is not None
    ]
    return reference_point(recorded, spec.objectives, spec.limits.of_metrics())
