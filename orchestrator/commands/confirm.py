"""`tinytl confirm`: whether a sweep's fronts hold up with other seeds."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from orchestrator.commands.sweep import LINE_WIDTH, Backend
from tinytl.errors import ConfigError


def confirm(
    directory: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="A sweep's directory; default: the newest in runs/."),
    ] = None,
    seeds: Annotated[
        int, typer.Option(help="How many seeds that the search did not use.", min=1, max=100)
    ] = 3,
    data: Annotated[Path | None, typer.Option(help="Root of the datasets, or one of them.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Directory of weights files.")] = None,
    address: Annotated[str | None, typer.Option(help="Of a running Ray cluster.")] = None,
    backend: Annotated[
        Backend, typer.Option(help="local runs one trial after the other, without Ray.")
    ] = Backend.ray,
) -> None:
    """Train the members of a sweep's fronts again with other seeds; show mean and spread.

    A second time with more seeds runs only what is missing.
    """
    # slow to import, and not needed to list the options
    from orchestrator.find import find_sweep
    from orchestrator.launch import Launch, launch
    from orchestrator.record import SWEEP_FILE
    from orchestrator.saved import read_sweep
    from orchestrator.spec import load_spec

    directory = find_sweep(directory)
    history = read_sweep(directory).history
    searching = [name for name in history.unfinished if history.asked[name].confirms is None]
    if searching:
        raise ConfigError(
            f"{directory} is not finished: {len(searching)} trials have not ended; finish it with "
            "`tinytl sweep` and --resume first (with fewer --trials, to end sooner)"
        )
    spec = load_spec(str(directory / SWEEP_FILE), [f"confirm={seeds}"], data=data)
    how = Launch(
        directory,
        resume=True,
        data=data,
        weights=weights,
        backend=backend.value,
        address=address,
        search=False,
    )
    console = Console(width=None if sys.stdout.isatty() else LINE_WIDTH)
    if not launch(spec, how, console):
        console.print("stopped; the same command goes on", style="yellow")
        raise typer.Exit(130)
