"""A command with all the processes that it starts, to be frozen and killed."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

_STOP_SECONDS = 30.0
_LINES = 20


class Session:
    """A command that runs in a session of its own, by which its processes are told.

    Args:
        command: The command.
        variables: Put into its environment.
    """

    def __init__(self, command: Sequence[str], variables: Mapping[str, str]) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(  # noqa: S603
            command,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The command's own process, which the others are older children of."""
        return self._process.pid

    def processes(self) -> list[int]:
        """Returns the processes that are alive."""
        return [pid for pid in _all_processes() if _session_of(pid) == self.pid]

    def workers(self) -> list[int]:
        """Returns those of Ray's processes that trials run in, or may run in next."""
        titles = {pid: _title(pid) for pid in self.processes()}
        return [pid for pid, t in titles.items() if t.startswith("ray::") and "Agent" not in t]

    def send(self, sign: signal.Signals) -> None:
        """Sends a signal to all processes."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, sign)

    def kill(self) -> None:
        """Kills what is left."""
        deadline = time.monotonic() + _STOP_SECONDS
        while self.processes() and time.monotonic() < deadline:
            self.send(signal.SIGKILL)
            self._process.poll()
            time.sleep(0.05)
        self._process.wait()

    def said(self) -> str:
        """Returns the last lines of what the command has printed."""
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return "\n".join(lines[-_LINES:])

    def running(self) -> bool:
        """Returns whether the command has not ended."""
        return self._process.poll() is None

    def wait(self, timeout: float) -> int:
        """Returns the command's status once it has ended."""
        return self._process.wait(timeout)


def tinytl(*words: str, **variables: str) -> Session:
    """Starts a sub-command of `tinytl`."""
    return Session([sys.executable, "-m", "orchestrator.cli", *words], variables)


def _all_processes() -> Iterator[int]:
    yield from (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal())


def _session_of(pid: int) -> int | None:
    """Returns the session of a process that is alive: not of one that only waits to be reaped."""
    try:
        # pid (name) state parent group session
        state, _, _, session, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state == "Z" else int(session)


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
