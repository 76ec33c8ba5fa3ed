"""The command that a sweep file names to be run when the sweep ends."""

import os
import shlex
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from orchestrator.record import Ended

_SECONDS = 60.0


def run_on_finish(command: str, directory: Path, state: Ended, console: Console) -> None:
    """Runs the command, without a shell, and warns where it fails: that fails no sweep.

    It finds the sweep's directory in the environment as `TINYTL_SWEEP` and how the sweep ended as
    `TINYTL_STATE`. Of the command only its first word is ever printed, for there may be secrets in
    the others.
    """
    words = shlex.split(command)
    problem = _problem(words, {"TINYTL_SWEEP": str(directory.absolute()), "TINYTL_STATE": state})
    if problem is not None:
        text = f"on_finish: {words[0]} {problem}; the sweep itself is {state}"
        console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _problem(words: list[str], variables: dict[str, str]) -> str | None:
    """Runs the command, and returns what was wrong with it."""
    try:
        process = subprocess.Popen(  # noqa: S603  (the user's own command)
            words,
            env=os.environ | variables,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        return f"cannot be started: {error.strerror}"
    try:
        code = process.wait(_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"did not end within {_SECONDS:g} s and was killed"
    return f"ended with exit code {code}" if code else None
