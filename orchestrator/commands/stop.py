"""`tinytl stop`: end a running sweep so that it can be resumed."""

import time
from pathlib import Path

from rich.console import Console

from orchestrator.commands.options import SweepDirectory
from orchestrator.record import Process, read_process, request_stop
from orchestrator.record.find import find_sweep

_LOOK_SECONDS = 0.2
_LINE_SECONDS = 10.0


def stop(
    directory: SweepDirectory = None,
) -> None:
    """Stop a running sweep as Ctrl-C does, from anywhere, and wait until it has ended.

    What is finished is kept; --resume goes on from the checkpoints.
    """
    console = Console(soft_wrap=True, highlight=False)
    directory = find_sweep(directory)
    process = read_process(directory)
    if process is None or process.state != "running":
        last = "" if process is None else f"; it {_ending(process)}"
        console.print(f"nothing runs in {directory}{last}", markup=False)
        return
    request_stop(directory)
    console.print(f"asked process {process.pid} on {process.host} to stop", markup=False)
    began = time.monotonic()
    ended = _wait(directory, process, console)
    seconds = time.monotonic() - began
    console.print(f"{directory} {_ending(ended)} after {seconds:.0f} s", markup=False)
    if ended.state != "finished":
        console.print("go on with the same `tinytl sweep` and --resume", markup=False)


def _wait(directory: Path, process: Process, console: Console) -> Process:
    """Returns what became of the process, as soon as it has ended."""
    now, shown = process, time.monotonic()
    while now == process:
        time.sleep(_LOOK_SECONDS)
        if time.monotonic() - shown > _LINE_SECONDS:
            shown = time.monotonic()
            console.print("waiting: running trials end at their next report, then MLflow is fed")
        now = read_process(directory) or process
    return now


def _ending(process: Process) -> str:
    return {"running": "runs again", "stopped": "is stopped"}.get(process.state, process.state)
