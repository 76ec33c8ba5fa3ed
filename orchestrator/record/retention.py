"""Which checkpoints stay on disk: those of running trials and of the members of the fronts."""

import os
import shutil
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from orchestrator.fronts.pareto import Objectives, Point, front
from orchestrator.record import Asked, SweepRecord, Told, read_events


class Retention:
    """Deletes the checkpoints that no trial goes on from, and nobody takes weights from.

    A trial that has ended keeps its own as long as it is on its study's front. What decides are the
    events in the record, so that a resumed sweep also deletes what an earlier process left.

    Args:
        record: The sweep's open directory.
        objectives: Metrics, and whether more or less of each is better.

    Attributes:
        freed_bytes: What was deleted so far.
        trials: How many trials it belonged to.
    """

    def __init__(self, record: SweepRecord, objectives: Objectives) -> None:
        self.freed_bytes = 0
        self.trials = 0
        self._record = record
        self._objectives = objectives
        self._offset = 0
        self._asked: dict[str, Asked] = {}
        self._fronts: dict[str, list[Point]] = defaultdict(list)

    def update(self) -> None:
        """Deletes what the events since the last call have made superfluous."""
        for event, offset in read_events(self._record.directory, self._offset):
            self._offset = offset
            if isinstance(event, Asked):
                self._asked[event.trial] = event
            elif isinstance(event, Told):
                self._end(event)

    def _end(self, told: Told) -> None:
        asked = self._asked.pop(told.trial)
        before = self._fronts[asked.study]
        if told.state != "complete" or asked.confirms is not None:
            self._delete(told.trial)
            return
        candidates = [*before, Point(told.trial, asked.params, told.metrics)]
        best = self._fronts[asked.study] = front(candidates, self._objectives)
        stay = {point.trial for point in best}
        for point in candidates:
            if point.trial not in stay:
                self._delete(point.trial)

    def _delete(self, trial: str) -> None:
        folder = self._record.trial_directory(trial)
        size = disk_bytes(folder)
        # what cannot be deleted must not end the sweep; a resumed one tries again
        shutil.rmtree(folder, ignore_errors=True)
        if size and not folder.exists():
            self.freed_bytes += size
            self.trials += 1


def disk_bytes(directory: Path) -> int:
    """Returns the size of all files below a directory, which may be in use; 0 without one."""
    total = 0
    for folder, _, files in os.walk(directory):
        for name in files:
            with suppress(FileNotFoundError):  # a running sweep replaces its files
                total += Path(folder, name).lstat().st_size
    return total
