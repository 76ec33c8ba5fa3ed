"""A sweep as its directory tells of it, whoever runs it, and whether anybody does."""

import time
from dataclasses import dataclass
from pathlib import Path

from orchestrator.record import SWEEP_FILE, Process, read_events, read_process
from orchestrator.record.history import History
from orchestrator.record.snapshot import Snapshot, snapshot
from orchestrator.spec import SweepSpec, load_spec


@dataclass(frozen=True)
class SavedSweep:
    """What a sweep's directory holds at a moment.

    Attributes:
        directory: The directory.
        spec: Its sweep file.
        history: Its events.
        process: Who runs it or did last; None where nobody ever did.
    """

    directory: Path
    spec: SweepSpec
    history: History
    process: Process | None

    @property
    def is_running(self) -> bool:
        """Whether a process runs it."""
        return self.process is not None and self.process.state == "running"

    def snapshot(self) -> Snapshot:
        """Returns where it stands: now where it is running, else at its last event."""
        return snapshot(self.spec, self.history, time.time() if self.is_running else self._last())

    def _last(self) -> float:
        newest = (*self.history.reported.values(), *self.history.ends())
        return max((event.time for event in newest), default=self.history.since)


def read_sweep(directory: Path) -> SavedSweep:
    """Reads a sweep's directory, which may be in use.

    Raises:
        ConfigError: If its sweep file is not valid.
        StorageError: If its events are damaged.
    """
    process = read_process(directory)
    history = History(process.since if process else 0.0)
    for event, _ in read_events(directory):
        history.add(event)
    # where own datasets are does not matter to what is recorded
    spec = load_spec(str(directory / SWEEP_FILE), data=directory)
    return SavedSweep(directory, spec, history, process)
