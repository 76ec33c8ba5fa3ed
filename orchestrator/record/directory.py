"""The sweep's directory: the one durable truth about a sweep.

`sweep.yaml` holds the resolved sweep file, `id` tells the sweep from all others, `trials.jsonl` the
append-only, fsynced events of all trials, `trials/<id>/` their checkpoints. `lock` is held by the
process that runs the sweep, `process` says which it is or was and how it ended, and whoever creates
`stop` asks it to end. Everything else (studies, fronts, the tracking server's content) can be
rebuilt from here.
"""

import errno
import json
import os
import uuid
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Protocol, Self

from orchestrator.record.events import EVENTS_FILE, Event, encode, read_events
from orchestrator.record.process import PROCESS_FILE, STOP_FILE, Ended, Process, take_lock
from tinytl.errors import ConfigError, StorageError
from tinytl.storage import not_written, write_atomically

SWEEP_FILE = "sweep.yaml"
_ID_FILE = "id"


def sweep_id(directory: Path) -> str:
    """Returns what tells the sweep in a directory from all others, wherever it is moved."""
    return (directory / _ID_FILE).read_text(encoding="utf-8")


class Record(Protocol):
    """What a running sweep asks of its record: a `SweepRecord`, or one that is not kept."""

    @property
    def id(self) -> str:
        """What tells this sweep from all others."""

    @property
    def directory(self) -> Path:
        """Where the sweep's files are."""

    @property
    def since(self) -> float:
        """When it was opened, in seconds since 1970."""

    @property
    def stop_requested(self) -> bool:
        """Whether somebody asked the sweep to end."""

    def append(self, event: Event) -> None:
        """Notes the event."""

    def events(self) -> list[Event]:
        """Returns all events so far, in the order in which they were appended."""

    def trial_directory(self, trial: str) -> Path:
        """Returns the directory of a trial's checkpoints."""


class SweepRecord:
    """The open directory of one sweep; at most one process holds it.

    Use `create` or `resume`, then append events; close when done.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = take_lock(directory)
        self._drop_torn_line()
        self._file = (directory / EVENTS_FILE).open("ab", buffering=0)
        (directory / STOP_FILE).unlink(missing_ok=True)
        self._process = Process("running")
        self._write(self._process)

    @classmethod
    def create(cls, directory: Path, sweep_yaml: str) -> Self:
        """Creates the directory of a new sweep.

        Raises:
            ConfigError: If the directory already holds a sweep.
            StorageError: If it cannot be written.
        """
        if (directory / SWEEP_FILE).exists():
            raise ConfigError(
                f"{directory} already holds a sweep; continue it with --resume, or choose another "
                "directory with --out"
            )
        write_atomically(directory / _ID_FILE, uuid.uuid4().hex)
        write_atomically(directory / SWEEP_FILE, sweep_yaml)
        return cls(directory)

    @classmethod
    def resume(cls, directory: Path) -> Self:
        """Opens the directory of an earlier sweep.

        Raises:
            ConfigError: If it holds no sweep, or another process has it open.
        """
        if not (directory / SWEEP_FILE).exists():
            raise ConfigError(f"{directory} holds no sweep to resume; start it without --resume")
        return cls(directory)

    @property
    def id(self) -> str:
        """What tells this sweep from all others, wherever its directory is moved."""
        return sweep_id(self.directory)

    @property
    def since(self) -> float:
        """When it was opened, in seconds since 1970."""
        return self._process.since

    @property
    def stop_requested(self) -> bool:
        """Whether somebody asked the sweep to end."""
        return (self.directory / STOP_FILE).exists()

    def append(self, event: Event) -> None:
        """Makes the event durable.

        Raises:
            StorageError: If it cannot be written, for example because the disk is full.
        """
        line = encode(event).encode() + b"\n"
        end = self._file.seek(0, os.SEEK_END)
        try:
            written = self._file.write(line)
            if written != len(line):  # the disk filled up in the middle of the line
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(end)
            raise not_written(self.directory / EVENTS_FILE, error) from None

    def events(self) -> list[Event]:
        """Returns all events so far, in the order in which they were appended."""
        return [event for event, _ in read_events(self.directory)]

    def trial_directory(self, trial: str) -> Path:
        """Returns the directory of a trial's checkpoints."""
        return self.directory / "trials" / trial

    def close(self, ended: Ended = "stopped") -> None:
        """Gives the directory back.

        Args:
            ended: How the sweep ended, for whoever asks later.
        """
        with suppress(StorageError):  # what filled the disk has been told already
            self._write(replace(self._process, state=ended))
        self._file.close()
        self._lock.close()

    def _write(self, process: Process) -> None:
        write_atomically(self.directory / PROCESS_FILE, json.dumps(asdict(process)))

    def _drop_torn_line(self) -> None:
        whole = max((offset for _, offset in read_events(self.directory)), default=0)
        path = self.directory / EVENTS_FILE
        if path.exists() and path.stat().st_size > whole:
            os.truncate(path, whole)
