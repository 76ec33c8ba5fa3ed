"""A running sweep: what is asked, reported and told, in one place for every backend.

A backend calls `ask` for a trial to run, `report` after each of its epochs, and `fail` if it
raised. Everything that happens is an event in the sweep's record first; studies, scheduler,
tracking and progress follow from there, so that a resumed sweep replays into the same state.
"""

import itertools
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.inputs.site import Site
from orchestrator.record import Asked, Event, Record, Reported, State, Told
from orchestrator.record.history import History
from orchestrator.record.snapshot import Snapshot, snapshot
from orchestrator.schedule import Halving
from orchestrator.spec import SweepSpec
from orchestrator.suggestions import Suggestion, Suggestions
from orchestrator.trial import TrialRequest
from tinytl.config import FinetuneConfig
from tinytl.finetune import EpochReport


@dataclass
class _Trial:
    """A trial as far as it got."""

    study: str
    number: int
    config: FinetuneConfig
    predicted_bytes: int | None
    confirms: str | None
    epoch: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    goes_on: bool = True
    state: State | None = None
    died: bool = False
    alone: bool = False


class Sweep:
    """A sweep that is being run.

    Args:
        spec: The sweep file.
        record: Its open directory; what is in it is replayed.
        site: Where it runs.
        clock: Returns seconds, by which `limits.hours` is kept.
    """

    def __init__(
        self,
        spec: SweepSpec,
        record: Record,
        site: Site,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spec = spec
        self.record = record
        self.site = site
        self._subscribers: list[Callable[[], None]] = []
        self._clock = clock
        self._suggestions = Suggestions(spec, site)
        halving = spec.search.scheduler == "halving"
        self._scheduler = Halving(spec.objectives, spec.search.halving) if halving else None
        self._trials: dict[str, _Trial] = {}
        self._ready: deque[Suggestion] = deque()
        self._running: set[str] = set()
        self._out_of_memory: deque[str] = deque()
        self._began = clock()
        self._searching = True
        self._history = History(record.since)
        for event in record.events():
            self._apply(event, replayed=True)
        self._waiting = deque(self.unfinished)

    def subscribe(self, subscriber: Callable[[], None]) -> None:
        """Has the subscriber called after each new event."""
        self._subscribers.append(subscriber)

    @property
    def unfinished(self) -> list[str]:
        """The trials that were asked for and have not ended."""
        return [name for name, trial in self._trials.items() if trial.state is None]

    @property
    def stopping(self) -> bool:
        """Whether somebody asked the sweep to end; trials that run do so at their next report."""
        return self.record.stop_requested

    @property
    def ending(self) -> bool:
        """Whether `ask` has no more trials, because it is `stopping` or `limits.hours` are over."""
        hours = self.spec.limits.hours
        out_of_time = hours is not None and self._clock() - self._began > hours * 3600
        return out_of_time or self.stopping

    @property
    def running(self) -> frozenset[str]:
        """The trials that run; if none does and `ask` has none, there will be none."""
        return frozenset(self._running)

    def ask(self) -> TrialRequest | None:
        """Returns the next trial to run, or None where there is none now.

        Trials that an earlier run of the sweep left unfinished come first. A trial whose predicted
        memory breaks the limit is told as infeasible without being run. One that ran out of memory
        is run again when no other is running, and none is beside it.

        Raises:
            StorageError: If the record cannot be written.
        """
        if self.ending or any(self._trials[name].alone for name in self._running):
            return None
        if self._out_of_memory:
            return None if self._running else self._request(self._out_of_memory.popleft())
        if self._waiting:
            return self._request(self._waiting.popleft())
        while suggestion := self._ready.popleft() if self._ready else self._suggest():
            study, number = suggestion.study, suggestion.number
            name = f"{study}-{number:04d}"
            self._add(Asked(name, study, number, suggestion.params, suggestion.predicted_bytes))
            if suggestion.problem is not None:
                self.fail(name, suggestion.problem)
            elif not self._told_too_big(name):
                return self._request(name)
            if self.ending:
                return None
        return None

    def prepare(self, count: int) -> None:
        """Has one more suggestion ready for `ask`, unless there are so many.

        Sampler and prediction take their time, in which a free process would wait.
        """
        if len(self._ready) < count and not self.ending and (found := self._suggest()):
            self._ready.append(found)

    def report(self, name: str, report: EpochReport) -> bool:
        """Takes a trial's report, and returns whether the trial goes on.

        Raises:
            StorageError: If the record cannot be written.
        """
        trial = self._trials[name]
        if trial.state is not None:
            return False
        if report.epoch > trial.epoch:  # a resumed trial reports its checkpoint once more
            self._add(Reported(name, report.epoch, report.metrics))
        if report.epoch == trial.config.epochs:
            self._finish(name)
            return False
        if self.stopping:
            return False
        if trial.goes_on:
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

    def lost(self, name: str) -> None:
        """Takes that a trial's process died: it goes on from its checkpoint.

        One that has finished no epoch since its process died before is told as failed.

        Raises:
            StorageError: If the record cannot be written.
        """
        trial = self._trials[name]
        if trial.state is not None:
            return
        if trial.died:
            self.fail(name, "its process died twice in the same epoch")
            return
        trial.died = True
        self.interrupted(name)

    def interrupted(self, name: str) -> None:
        """Takes that a trial was ended for no reason of its own: it goes on from its checkpoint."""
        self._running.discard(name)
        self._waiting.appendleft(name)

    def ran_out(self, name: str, reached_bytes: int, reason: str) -> None:
        """Takes that a trial ran out of memory: it is tried again alone, then told as infeasible.

        Args:
            name: The trial.
            reached_bytes: The most that it had; 0 where nobody knows.
            reason: What is told.

        Raises:
            StorageError: If the record cannot be written.
        """
        trial = self._trials[name]
        if trial.state is not None:
            return
        if not trial.alone:
            trial.alone = True
            self._running.discard(name)
            self._out_of_memory.append(name)
            return
        known = (reached_bytes, trial.predicted_bytes or 0, trial.metrics.get("peak_bytes", 0))
        self._add(Told(name, "infeasible", {**trial.metrics, "peak_bytes": max(known)}, reason))

    def confirm(self, seeds: int) -> None:
        """Ends the search, and asks for what confirms the members of the fronts.

        Each is trained again with so many seeds that the search did not use. What an earlier call
        asked for is not asked for again.

        Raises:
            StorageError: If the record cannot be written.
        """
        self._searching = False
        first = self.spec.search.seed + self.spec.search.seeds
        for best in self.snapshot().fronts.values():
            for member, seed in itertools.product(best, range(first, first + seeds)):
                asked = self._history.asked[member.trial]
                name = f"{member.trial}-seed-{seed}"
                if name not in self._trials:
                    params = {**asked.params, "seed": seed}
                    bytes_ = asked.predicted_bytes
                    self._add(Asked(name, asked.study, asked.number, params, bytes_, asked.trial))
                    self._waiting.append(name)

    def snapshot(self) -> Snapshot:
        """Returns where the sweep stands."""
        waiting = len(self._waiting) + len(self._out_of_memory)
        return snapshot(self.spec, self._history, time.time(), waiting=waiting)

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
        for subscriber in self._subscribers:
            subscriber()

    def _apply(self, event: Event, *, replayed: bool) -> None:
        """Brings trials and studies to where they stand after the event."""
        self._history.add(event)
        if isinstance(event, Asked):
            config = self.spec.finetune_config(event.study, event.params)
            trial = _Trial(event.study, event.number, config, event.predicted_bytes, event.confirms)
            self._trials[event.trial] = trial
            self._suggestions.note(event, replayed=replayed)
            return
        trial = self._trials[event.trial]
        if isinstance(event, Reported):
            trial.epoch, trial.metrics, trial.died = event.epoch, event.metrics, False
            if trial.confirms is not None:  # neither study nor scheduler sees it
                return
            self._suggestions.studies[trial.study].report(trial.number, event.epoch, event.metrics)
            if self._scheduler is not None and event.epoch < trial.config.epochs:
                trial.goes_on = self._scheduler.goes_on(
                    trial.study, event.trial, event.epoch, trial.config.epochs, event.metrics
                )
        else:
            trial.state = event.state
            self._running.discard(event.trial)
            if trial.confirms is not None:  # the study searches, and learns nothing from it
                return
            self._suggestions.studies[trial.study].tell(
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
        self._running.add(name)
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
            trial.alone,
        )

    def _suggest(self) -> Suggestion | None:
        return self._suggestions.next() if self._searching else None


def _too_big(how: str, peak_bytes: float, limit: int) -> str:
    return (
        f"{how} peak_bytes {peak_bytes / 1e6:.1f} MB are above limits.peak_bytes {limit / 1e6:g} MB"
    )
