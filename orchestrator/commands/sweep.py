"""`tinytl sweep`: run a sweep file."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.options import (
    Address,
    Backend,
    Data,
    OnBackend,
    Weights,
    launch_or_exit,
    make_console,
    parse_size,
)


def sweep(
    file: Annotated[str, typer.Argument(help="A sweep file, or the name of one that is shipped.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Put in place of what the file says."),
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Trials of each dataset.", min=1)] = None,
    data: Data = None,
    weights: Weights = None,
    out: Annotated[Path | None, typer.Option(help="The sweep's directory [runs/NAME].")] = None,
    address: Address = None,
    nodes: Annotated[
        int, typer.Option(help="Wait until that cluster has so many nodes.", min=1)
    ] = 1,
    backend: OnBackend = Backend.ray,
    tracking_uri: Annotated[str | None, typer.Option(help="Of an MLflow server.")] = None,
    cache_limit: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Disk for a dataset's decoded images [20GB, or 1/3 of what is free].",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an earlier sweep.")] = False,
) -> None:
    """Search the trade-off between accuracy and measured training memory."""
    # slow to import, and not needed to list the options
    from orchestrator.launch import Launch
    from orchestrator.spec import load_spec

    console = make_console()
    if tracking_uri is not None:
        overrides = [*(overrides or []), f"tracking.uri={tracking_uri}"]
    spec = load_spec(file, overrides or (), trials=trials, data=data)
    directory = out or Path("runs") / spec.name
    limit_bytes = None if cache_limit is None else parse_size("--cache-limit", cache_limit)
    how = Launch(
        directory=directory,
        resume=resume,
        data=data,
        weights=weights,
        backend=backend.value,
        address=address,
        nodes=nodes,
        cache_limit_bytes=limit_bytes,
    )
    launch_or_exit(spec, how, console, "the same command with --resume goes on")
    console.print(f"browse it: tinytl ui {directory}", highlight=False, soft_wrap=True)
