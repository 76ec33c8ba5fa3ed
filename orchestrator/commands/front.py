"""`tinytl front`: the Pareto fronts of a sweep."""

import json
import shlex
from typing import Annotated, Any

import typer
from rich.console import Console

from orchestrator.commands.options import SweepDirectory, parse_size
from tinytl.errors import ConfigError


def front(
    directory: SweepDirectory = None,
    budget: Annotated[
        str | None, typer.Option(help="Only the best that trains within this memory: 36MB.")
    ] = None,
    study: Annotated[str | None, typer.Option(help="Only this dataset's.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, in bytes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, in bytes.")] = False,
) -> None:
    """Print a sweep's Pareto fronts, or the best configuration within a memory budget."""
    # slow to import, and not needed to list the options
    from orchestrator.checkpoints import checkpoint_of
    from orchestrator.fronts.choice import (
        best_within,
        export_command,
        front_view,
        fronts_of,
        train_command,
    )
    from orchestrator.fronts.pareto import front_csv, front_rows
    from orchestrator.record.find import find_sweep
    from orchestrator.record.saved import read_sweep

    if as_csv and as_json:
        raise ConfigError("--csv and --json were both given; leave one out")
    directory = find_sweep(directory)
    saved = read_sweep(directory)
    objectives = saved.spec.objectives
    fronts = fronts_of(saved.snapshot(), study)
    if budget is not None:
        limit = parse_size("--budget", budget)
        fronts = {name: [best_within(best, objectives, limit)] for name, best in fronts.items()}
    if as_csv:
        if len(fronts) > 1:
            raise ConfigError(f"--csv: choose one front with --study: {', '.join(fronts)}")
        (best,) = fronts.values()
        typer.echo(front_csv(best, objectives), nl=False)
        return
    if as_json:
        rows: dict[str, list[dict[str, Any]]] = {
            name: front_rows(best, objectives) for name, best in fronts.items()
        }
        typer.echo(json.dumps(rows, indent=2))
        return
    console = Console()
    for name, best in fronts.items():
        console.print(front_view(name, best, objectives))
        for point in best if budget is not None else ():
            commands = {"train it": train_command(directory, point.trial)}
            if checkpoint_of(directory, point.trial).exists():
                commands["export it"] = export_command(directory, point.trial)
            for what, words in commands.items():
                text = f"{what}: {shlex.join(words)}"
                console.print(text, highlight=False, soft_wrap=True, markup=False)
