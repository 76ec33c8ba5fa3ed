"""Runs a sweep in virtual time: trials take as long as they did, and nobody waits for them."""

import heapq
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.record import Asked, Event
from orchestrator.simulation.oracle import Course, Oracle
from orchestrator.sweep import Sweep
from tinytl.finetune import EpochReport


class Clock:
    """Virtual time, in seconds since the sweep began."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Returns the time."""
        return self.now


@dataclass
class Notes:
    """A sweep's record that is not kept: the events of a simulation, in virtual time.

    Attributes:
        clock: The time of an event is taken from here.
        id: The same for all simulations.
        directory: Where files would be; there are none.
        since: When the sweep began.
        stop_requested: Always false: nobody stops a simulation.
    """

    clock: Clock
    id: str = "simulation"
    directory: Path = Path()
    since: float = 0.0
    stop_requested: bool = False
    _events: list[Event] = field(default_factory=list)
    _asked: dict[str, Asked] = field(default_factory=dict)

    def append(self, event: Event) -> None:
        """Notes the event."""
        self._events.append(replace(event, time=self.clock.now))
        if isinstance(event, Asked):
            self._asked[event.trial] = event

    def events(self) -> list[Event]:
        """Returns all events so far."""
        return list(self._events)

    def asked(self, trial: str) -> Asked:
        """Returns what was suggested."""
        return self._asked[trial]

    def trial_directory(self, trial: str) -> Path:
        """Returns where checkpoints would be."""
        return self.directory / trial


def run(sweep: Sweep, notes: Notes, oracles: Mapping[str, Oracle], workers: int) -> None:
    """Runs until no trial is left.

    Args:
        sweep: The sweep, which writes into `notes`.
        notes: Its record.
        oracles: How the trials of each study go.
        workers: How many trials run at once.
    """
    order = itertools.count()  # of trials that report at the same time
    running: list[tuple[float, int, str, int]] = []  # when, order, trial, epoch
    while True:
        while len(running) < workers and (request := sweep.ask()) is not None:
            seconds = _seconds(notes, oracles, request.trial, 1)
            heapq.heappush(running, (notes.clock.now + seconds, next(order), request.trial, 1))
        if not running:
            return
        notes.clock.now, _, trial, epoch = heapq.heappop(running)
        course = _course(notes, oracles, trial)
        if epoch > len(course.accuracy):
            sweep.fail(trial, "it failed when it was recorded")
            continue
        metrics = {"val_accuracy": course.accuracy[epoch - 1], "peak_bytes": course.peak_bytes}
        if sweep.report(trial, EpochReport(epoch, metrics)):
            seconds = _seconds(notes, oracles, trial, epoch + 1)
            heapq.heappush(running, (notes.clock.now + seconds, next(order), trial, epoch + 1))


def _course(notes: Notes, oracles: Mapping[str, Oracle], trial: str) -> Course:
    asked = notes.asked(trial)
    return oracles[asked.study].course(asked.params)


def _seconds(notes: Notes, oracles: Mapping[str, Oracle], trial: str, epoch: int) -> float:
    """Returns how long an epoch takes; one that fails ends at once."""
    seconds = _course(notes, oracles, trial).seconds
    return seconds[epoch - 1] if epoch <= len(seconds) else 0.0
