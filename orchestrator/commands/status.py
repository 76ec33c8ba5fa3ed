"""`tinytl status`: where a sweep stands."""

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from orchestrator.commands.options import SweepDirectory

if TYPE_CHECKING:
    from orchestrator.record.saved import SavedSweep

_REFRESH_SECONDS = 2.0
_SHOWN = 20  # unfinished trials


def status(
    directory: SweepDirectory = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it anew until nothing runs, or Ctrl-C.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, in bytes.")] = False,
) -> None:
    """Show where a sweep stands, by its directory alone: while it runs, and after."""
    # slow to import, and not needed to list the options
    from orchestrator.progress import show_failures
    from orchestrator.record.find import find_sweep
    from orchestrator.record.saved import read_sweep

    directory = find_sweep(directory)
    saved = read_sweep(directory)
    if as_json:
        typer.echo(json.dumps(_numbers(saved), indent=2))
        return
    console = Console()
    if watch and saved.is_running:
        with Live(_view(saved), console=console, auto_refresh=False, transient=True) as live:
            while saved.is_running:
                try:
                    time.sleep(_REFRESH_SECONDS)
                except KeyboardInterrupt:
                    break
                saved = read_sweep(directory)
                live.update(_view(saved), refresh=True)
    console.print(_view(saved))
    show_failures(saved.snapshot(), directory, console)


def _view(saved: "SavedSweep") -> Group:
    from orchestrator.progress import standing_view
    from orchestrator.record.retention import disk_bytes

    lines = [*_unfinished(saved), f"disk: {disk_bytes(saved.directory) / 1e6:.1f} MB"]
    return Group(
        Text(_state(saved)),
        standing_view(saved.snapshot(), saved.spec.objectives),
        Text("\n".join(lines)),
    )


def _state(saved: "SavedSweep") -> str:
    process = saved.process
    if process is None:
        return f"{saved.directory}: nobody runs it"
    who = f"process {process.pid} on {process.host}"
    if process.state == "running":
        return f"{saved.directory}: running ({who})"
    again = "" if process.state == "finished" else "; --resume goes on"
    return f"{saved.directory}: {process.state} ({who}){again}"


def _unfinished(saved: "SavedSweep") -> list[str]:
    """Returns a line for each trial that has not ended, those heard of last first."""
    from orchestrator.record.snapshot import epochs_of

    unfinished, asked = saved.history.unfinished, saved.history.asked
    heard = {trial: saved.history.heard(trial) for trial in unfinished}
    lines = []
    for trial in sorted(heard, key=lambda trial: -heard[trial])[:_SHOWN]:
        epochs, ago = epochs_of(saved.spec, asked[trial]), time.time() - heard[trial]
        lines.append(f"  {trial}: {unfinished[trial]} of {epochs} epochs, heard of {ago:.0f} s ago")
    more = len(heard) - len(lines)
    return [*lines, f"  and {more} more"] if more else lines


def _numbers(saved: "SavedSweep") -> dict[str, Any]:
    from orchestrator.record.retention import disk_bytes

    found = saved.snapshot()
    return {
        "sweep": str(saved.directory),
        "state": saved.process and saved.process.state,
        "since": saved.process and saved.process.since,
        "host": saved.process and saved.process.host,
        "pid": saved.process and saved.process.pid,
        "trials": found.states,
        "total": found.total,
        "unfinished": found.unfinished,
        "failures": found.failures,
        "studies": {
            study: {
                "complete": len(complete),
                "front": [point.trial for point in found.fronts[study]],
                "hypervolume": found.hypervolumes[study],
            }
            for study, complete in found.points.items()
        },
        "seconds": found.seconds,
        "seconds_left": found.seconds_left if saved.is_running else None,
        "disk_bytes": disk_bytes(saved.directory),
    }
