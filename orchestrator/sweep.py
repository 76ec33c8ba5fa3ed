"""A running sweep: what is asked, reported and told, in one place for every backend.

A backend calls `ask` for a trial to run, `report` after each of its epochs, and `fail` if it
raised. Everything that happens is an event in the sweep's record first; studies, scheduler,
tracking and progress follow from there, so that a resumed sweep replays into the same state.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.pareto import Point, front, hypervolume, points, reference_point
from orchestrator.record import Asked, Event, Reported, State, SweepRecord, Told
from orchestrator.schedule import Halving
from orchestrator.search import Study
from orchestrator.spec import SweepSpec
from orchestrator.trial import TrialRequest
from tinytl.config import FinetuneConfig
from tinytl.errors import TinyTLError
from tinytl.finetune import EpochReport


@dataclass(frozen=True)
class Site:
    """Where a sweep runs.

    Attributes:
        data: Root of the datasets.
        weights: Where to look for weights first.
        device: Where trials train.
        classes: Number of classes of each dataset.
        predict: Returns the `peak_bytes` that a trial will measure, from its configuration, number
            of classes, device and threads.
        cache_limit_bytes: The most that the cache of decoded images may keep of a dataset; None for
            the default.
    """

    data: Path | None
    weights: Path | None
    device: str
    classes: Mapping[str, int]
    predict: Callable[[FinetuneConfig, int, str, int], int]
    cache_limit_bytes: int | None = None


@dataclass
class _Trial:
    """A trial as far as it got."""

    study: str
    number: int
    config: FinetuneConfig
    predicted_bytes: int | None
    epoch: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    state: State | None = None


@dataclass(frozen=True)
class Snapshot:
    """What people want to know of a running sweep.

    Attributes:
        states: How many trials ended in each state.
        failures: Why each failed trial did.
        running: Trials that were asked for and have not ended.
        total: Trials the sweep will ask for at most, or None where nobody counted them.
        points: The complete trials of each study.
        fronts: Each study's front.
        hypervolumes: Each study's hypervolume.
        seconds: Time since this process started.
        seconds_left: Time until the sweep ends, at the pace since the first report; None where that
            or the number of trials is not known.
    """

    states: Mapping[State, int]
    failures: Mapping[str, str]
    running: int
    total: int | None
    points: Mapping[str, list[Point]]
    fronts: Mapping[str, list[Point]]
    hypervolumes: Mapping[str, float]
    seconds: float
    seconds_left: float | None


class Sweep:
    """A sweep that is being run.

    Args:
        spec: The sweep file.
        record: Its open directory; what is in it is replayed.
        site: Where it runs.
        notify: Called after each new event.
    """

    def __init__(
        self,
        spec: SweepSpec,
        record: SweepRecord,
        site: Site,
        notify: Callable[[], None] = lambda: None,
    ) -> None:
        self.spec = spec
        self.record = record
        self.site = site
        self._notify = notify
        self._studies = {
            name: Study(name, spec.space, spec.objectives, spec.search) for name in spec.datasets
        }
        self._scheduler = Halving(spec.objectives) if spec.search.scheduler == "halving" else None
        self._trials: dict[str, _Trial] = {}
        self._exhausted: set[str] = set()
        self._began = time.monotonic()
        self._epochs = 0
        self._first_report = 0.0
        self._events: list[Event] = []
        for event in record.events():
            self._apply(event, replayed=True)
        self._waiting = [name for name, trial in self._trials.items() if trial.state is None]

    @property
    def unfinished(self) -> list[str]:
        """The trials that were asked for and have not ended."""
        return [name for name, trial in self._trials.items() if trial.state is None]

    def ask(self) -> TrialRequest | None:
        """Returns the next trial to run, or None where there is none left.

        Trials that an earlier run of the sweep left unfinished come first. A trial whose predicted
        memory breaks the limit is told as infeasible without being run.

        Raises:
            StorageError: If the record cannot be written.
        """
        while self._waiting:
            name = self._waiting.pop(0)
            if self._trials[name].state is None:
                return self._request(name)
        while not self._out_of_time():
            study = self._next_study()
            if study is None:
                return None
            asked = self._studies[study].ask()
            if asked is None:
                self._exhausted.add(study)
                continue
            number, params = asked
            name = f"{study}-{number:04d}"
            predicted_bytes, problem = self._predict(study, params)
            self._add(Asked(name, study, number, params, predicted_bytes))
            if problem is not None:
                self.fail(name, problem)
            elif not self._told_too_big(name):
                return self._request(name)
        return None

    def report(self, name: str, report: EpochReport) -> bool:
        """Takes a trial's report, and returns whether the trial goes on.

        Raises:
            StorageError: If the record cannot be written.
        """
        trial = self._trials[name]
        if trial.state is not None:
            return False
        is_new = report.epoch > trial.epoch  # a resumed trial reports its checkpoint once more
        if is_new:
            self._epochs += 1
            self._first_report = self._first_report or time.monotonic()
            self._add(Reported(name, report.epoch, report.metrics))
        if report.epoch == trial.config.epochs:
            self._finish(name)
            return False
        if not is_new or self._scheduler is None:
            return True
        if self._scheduler.goes_on(trial.study, report.epoch, trial.metrics):
            return True
        reason = f"stopped by the scheduler after epoch {report.epoch} of {trial.config.epochs}"
        self._add(Told(name, "stopped", trial.metrics, reason))
        return False

    def fail(self, name: str, reason: str) -> None:
        """Tells that a trial raised, unless it has ended already.

        Raises:
            StorageError: If the record cannot be written.
        """
        trial = self._trials[name]
        if trial.state is None:
            self._add(Told(name, "failed", trial.metrics, reason))

    def snapshot(self) -> Snapshot:
        """Returns where the sweep stands."""
        complete = points(self._events)
        objectives = self.spec.objectives
        ended = [trial.state for trial in self._trials.values() if trial.state is not None]
        total = self._total()
        return Snapshot(
            states={state: ended.count(state) for state in sorted(set(ended))},
            failures={
                event.trial: event.reason or ""
                for event in self._events
                if isinstance(event, Told) and event.state == "failed"
            },
            running=len(self.unfinished) - len(self._waiting),
            total=total,
            points=complete,
            fronts={study: front(found, objectives) for study, found in complete.items()},
            hypervolumes={
                study: hypervolume(
                    found, objectives, reference_point(found, objectives, self.limits)
                )
                for study, found in complete.items()
            },
            seconds=time.monotonic() - self._began,
            seconds_left=self._seconds_left(total),
        )

    def _seconds_left(self, total: int | None) -> float | None:
        if total is None or self._epochs < 2:
            return None
        trials = self._trials.values()
        epochs = max(trial.config.epochs for trial in trials) * (total - len(trials))
        epochs += sum(t.config.epochs - t.epoch for t in trials if t.state is None)
        pace = (time.monotonic() - self._first_report) / (self._epochs - 1)
        return pace * epochs

    @property
    def limits(self) -> dict[str, float]:
        """The objectives that have a limit."""
        peak_bytes = self.spec.limits.peak_bytes
        return {} if peak_bytes is None else {"peak_bytes": float(peak_bytes)}

    def _predict(self, study: str, params: Mapping[str, object]) -> tuple[int | None, str | None]:
        """Returns the predicted memory of a trial, or why it cannot be built."""
        try:
            config = self.spec.finetune_config(study, params)
            classes, threads = self.site.classes[study], self.spec.search.threads
            return self.site.predict(config, classes, self.site.device, threads), None
        except TinyTLError as error:
            return None, str(error)

    def _told_too_big(self, name: str) -> bool:
        trial = self._trials[name]
        limit = self.spec.limits.peak_bytes
        if limit is None or trial.predicted_bytes is None or trial.predicted_bytes <= limit:
            return False
        reason = _too_big("predicted", trial.predicted_bytes, limit)
        self._add(Told(name, "infeasible", {"peak_bytes": trial.predicted_bytes}, reason))
        return True

    def _finish(self, name: str) -> None:
        """Tells a trial that ran to its last epoch."""
        trial = self._trials[name]
        limit = self.spec.limits.peak_bytes
        peak_bytes = trial.metrics["peak_bytes"]
        if limit is not None and peak_bytes > limit:
            reason = _too_big("measured", peak_bytes, limit)
            self._add(Told(name, "infeasible", trial.metrics, reason))
        else:
            self._add(Told(name, "complete", trial.metrics))

    def _add(self, event: Event) -> None:
        self.record.append(event)
        self._apply(event, replayed=False)
        self._notify()

    def _apply(self, event: Event, *, replayed: bool) -> None:
        """Brings trials and studies to where they stand after the event."""
        self._events.append(event)
        if isinstance(event, Asked):
            config = self.spec.finetune_config(event.study, event.params)
            trial = _Trial(event.study, event.number, config, event.predicted_bytes)
            self._trials[event.trial] = trial
            if replayed:
                self._studies[event.study].replay_ask(event.number, event.params)
            return
        trial = self._trials[event.trial]
        if isinstance(event, Reported):
            trial.epoch, trial.metrics = event.epoch, event.metrics
            if replayed and self._scheduler is not None and event.epoch < trial.config.epochs:
                self._scheduler.goes_on(trial.study, event.epoch, event.metrics)
        else:
            trial.state = event.state
            self._studies[trial.study].tell(
                trial.number, event.state, event.metrics, violation=self._violation(event)
            )

    def _violation(self, event: Told) -> float:
        """Returns by how much of it the limit was broken."""
        limit = self.spec.limits.peak_bytes
        peak_bytes = event.metrics.get("peak_bytes")
        if event.state != "infeasible" or limit is None or peak_bytes is None:
            return 0.0
        return peak_bytes / limit - 1

    def _request(self, name: str) -> TrialRequest:
        trial = self._trials[name]
        return TrialRequest(  # absolute paths, for processes with another working directory
            name,
            trial.config,
            self.record.trial_directory(name).absolute(),
            self.site.data and self.site.data.absolute(),
            self.site.weights and self.site.weights.absolute(),
            self.site.device,
            self.spec.search.threads,
            trial.predicted_bytes or 0,
            max(self.spec.values("resolution")),
            self.site.cache_limit_bytes,
        )

    def _next_study(self) -> str | None:
        """Returns the study with the fewest trials among those that may have more."""
        asked = dict.fromkeys(self._studies, 0)
        for trial in self._trials.values():
            asked[trial.study] += 1
        most = self.spec.search.trials
        able = [
            study
            for study, count in asked.items()
            if study not in self._exhausted and (most is None or count < most)
        ]
        return min(able, key=lambda study: asked[study], default=None)

    def _total(self) -> int | None:
        size, trials = self.spec.space.size(), self.spec.search.trials
        known = [count for count in (size, trials) if count is not None]
        return min(known) * len(self._studies) if known else None

    def _out_of_time(self) -> bool:
        hours = self.spec.limits.hours
        return hours is not None and time.monotonic() - self._began > hours * 3600


def _too_big(how: str, peak_bytes: float, limit: int) -> str:
    return (
        f"{how} peak_bytes {peak_bytes / 1e6:.1f} MB are above limits.peak_bytes {limit / 1e6:g} MB"
    )
