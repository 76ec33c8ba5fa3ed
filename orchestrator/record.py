"""The sweep's directory: the one durable truth about a sweep.

`sweep.yaml` holds the resolved sweep file, `id` tells the sweep from all others, `trials.jsonl` the
append-only, fsynced events of all trials, `trials/<id>/` their checkpoints. `lock` is held by the
process that runs the sweep, `process` says which it is or was and how it ended, and whoever creates
`stop` asks it to end. Everything else (studies, fronts, the tracking server's content) can be
rebuilt from here.
"""

import errno
import fcntl
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

from tinytl.errors import ConfigError, StorageError
from tinytl.storage import not_written, write_atomically

SWEEP_FILE = "sweep.yaml"
EVENTS_FILE = "trials.jsonl"
_ID_FILE = "id"
_LOCK_FILE = "lock"
_PROCESS_FILE = "process"
_STOP_FILE = "stop"

State = Literal["complete", "stopped", "infeasible", "failed"]
Ended = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True)
class Asked:
    """A study suggested a trial.

    Attributes:
        trial: Unique name of the trial within the sweep, `<study>-<number>`.
        study: The dataset whose study suggested it.
        number: Counts the study's trials from 0; that of the confirmed trial where it confirms one.
        params: Flat parameter names and values.
        predicted_bytes: Predicted `peak_bytes`, or None where nothing was predicted.
        confirms: The trial of a front that this one trains again with another seed; None for the
            study's own trials.
    """

    kind: ClassVar[str] = "asked"
    trial: str
    study: str
    number: int
    params: dict[str, Any]
    predicted_bytes: int | None = None
    confirms: str | None = None
    time: float = field(default_factory=time.time)


@dataclass(frozen=True)
class Reported:
    """A trial finished an epoch (counted from 1)."""

    kind: ClassVar[str] = "reported"
    trial: str
    epoch: int
    metrics: dict[str, float]
    time: float = field(default_factory=time.time)


@dataclass(frozen=True)
class Told:
    """A trial ended.

    Attributes:
        trial: The trial's name.
        state: `complete` at full fidelity; `stopped` by the scheduler before that; `infeasible`
            where it broke a limit; `failed` where it raised.
        metrics: The trial's final metrics, as far as it got.
        reason: Why it did not complete, in one sentence.
    """

    kind: ClassVar[str] = "told"
    trial: str
    state: State
    metrics: dict[str, float]
    reason: str | None = None
    time: float = field(default_factory=time.time)


Event = Asked | Reported | Told
_EVENTS: dict[str, type[Asked] | type[Reported] | type[Told]] = {
    event.kind: event for event in (Asked, Reported, Told)
}


def encode(event: Event) -> str:
    """Returns the event as one line of JSON."""
    return json.dumps({"kind": event.kind, **asdict(event)}, separators=(",", ":"))


def decode(line: str) -> Event:
    """Returns the event of one line of JSON.

    Raises:
        ValueError: If the line is not an event.
    """
    values = json.loads(line)
    if not isinstance(values, dict) or values.get("kind") not in _EVENTS:
        raise ValueError(f"not an event: {line[:80]!r}")
    try:
        return _EVENTS[values.pop("kind")](**values)
    except TypeError as error:
        raise ValueError(f"not an event: {error}") from None


def read_events(directory: Path, start: int = 0) -> Iterator[tuple[Event, int]]:
    """Yields each whole event from byte offset `start` on, with the offset behind it.

    A torn last line, left by a process that died while writing, ends the iteration.

    Raises:
        StorageError: If a line in the middle is not an event.
    """
    path = directory / EVENTS_FILE
    if not path.exists():
        return
    with path.open("rb") as file:
        offset = file.seek(start)
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                event = decode(line.decode())
            except ValueError as error:
                raise StorageError(
                    f"{path} is damaged at byte {offset}: {error}; restore the file from a backup, "
                    "or start the sweep in a new directory"
                ) from None
            offset += len(line)
            yield event, offset


@dataclass(frozen=True)
class Process:
    """The process that runs a sweep, or the last one that did.

    Attributes:
        state: `running`; how it ended; or `died` where it had no time to say so.
        since: When it began, in seconds since 1970.
        host: The machine it is on.
        pid: Its id there.
    """

    state: Literal["running", "died"] | Ended
    since: float = field(default_factory=time.time)
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)


def read_process(directory: Path) -> Process | None:
    """Returns the process that runs the sweep or did last, or None where there was none."""
    process = _read_process(directory)
    if process is None or _is_held(directory):
        return process
    process = _read_process(directory)  # again: it may have ended in between, and said so
    if process is not None and process.state == "running":
        return replace(process, state="died")
    return process


def request_stop(directory: Path) -> None:
    """Asks the process that runs the sweep to end as on Ctrl-C.

    Raises:
        StorageError: If the directory cannot be written to.
    """
    write_atomically(directory / _STOP_FILE, "")


def _read_process(directory: Path) -> Process | None:
    try:
        return Process(**json.loads((directory / _PROCESS_FILE).read_text()))
    except FileNotFoundError:
        return None


def _is_held(directory: Path) -> bool:
    try:
        lock = (directory / _LOCK_FILE).open()
    except FileNotFoundError:
        return False
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        return False


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
        self._lock = (directory / _LOCK_FILE).open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise ConfigError(
                f"{directory} is in use by another running sweep; wait for it, stop it, or choose "
                "another directory with --out"
            ) from None
        self._drop_torn_line()
        self._file = (directory / EVENTS_FILE).open("ab", buffering=0)
        (directory / _STOP_FILE).unlink(missing_ok=True)
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
        return (self.directory / _ID_FILE).read_text(encoding="utf-8")

    @property
    def since(self) -> float:
        """When it was opened, in seconds since 1970."""
        return self._process.since

    @property
    def stop_requested(self) -> bool:
        """Whether somebody asked the sweep to end."""
        return (self.directory / _STOP_FILE).exists()

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
        write_atomically(self.directory / _PROCESS_FILE, json.dumps(asdict(process)))

    def _drop_torn_line(self) -> None:
        whole = max((offset for _, offset in read_events(self.directory)), default=0)
        path = self.directory / EVENTS_FILE
        if path.exists() and path.stat().st_size > whole:
            os.truncate(path, whole)
