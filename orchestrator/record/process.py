"""Which process runs a sweep, or did last, and how it ended; told to whoever has its directory."""

import fcntl
import json
import os
import socket
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TextIO

from tinytl.errors import ConfigError
from tinytl.storage import write_atomically

LOCK_FILE = "lock"
PROCESS_FILE = "process"
STOP_FILE = "stop"

Ended = Literal["finished", "stopped", "failed"]


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
    write_atomically(directory / STOP_FILE, "")


def take_lock(directory: Path) -> TextIO:
    """Takes a sweep's directory for this process, until the returned file is closed.

    Raises:
        ConfigError: If another process has it.
    """
    lock = (directory / LOCK_FILE).open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise ConfigError(
            f"{directory} is in use by another running sweep; wait for it, stop it, or choose "
            "another directory with --out"
        ) from None
    return lock


def _read_process(directory: Path) -> Process | None:
    try:
        return Process(**json.loads((directory / PROCESS_FILE).read_text()))
    except FileNotFoundError:
        return None


def _is_held(directory: Path) -> bool:
    try:
        lock = (directory / LOCK_FILE).open()
    except FileNotFoundError:
        return False
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        return False
