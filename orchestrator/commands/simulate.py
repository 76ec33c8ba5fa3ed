"""`tinytl simulate`: compare samplers and schedulers on recorded trials, in virtual time."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.options import make_console
from tinytl.errors import ConfigError, unknown_name


def simulate(
    file: Annotated[str, typer.Argument(help="A sweep file, or the name of one that is shipped.")],
    source: Annotated[
        Path, typer.Option("--from", help="A sweep's directory, or a table: .jsonl or .parquet.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Put in place of what the file says."),
    ] = None,
    sampler: Annotated[
        str, typer.Option(metavar="A,B,C", help="Samplers to compare.")
    ] = "memory_aware,nsga2,tpe,random",
    scheduler: Annotated[
        str, typer.Option(metavar="A,B", help="Schedulers to compare: none, halving.")
    ] = "none",
    seeds: Annotated[int, typer.Option(help="Sweeps of each.", min=1)] = 5,
    workers: Annotated[int, typer.Option(help="Trials that run at once.", min=1)] = 1,
    trials: Annotated[int | None, typer.Option(help="Trials of each dataset.", min=1)] = None,
    table: Annotated[
        Path | None,
        typer.Option(help="Write the recorded trials there too, as .jsonl or .parquet, to share."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="For DATASET.json and .png; else runs/NAME-simulated.")
    ] = None,
) -> None:
    """Replay finished trials as if they were searched by other samplers, in virtual time.

    What the table does not have is expected by a model that was fitted to it; how far the model
    errs is printed. Hypervolumes are means over the seeds.
    """
    # slow to import, and not needed to list the options
    from rich.progress import Progress

    from orchestrator.simulation.compare import compare
    from orchestrator.simulation.oracle import Oracle
    from orchestrator.simulation.report import numbers, picture, show
    from orchestrator.simulation.tables import read_table, write_table
    from orchestrator.spec import load_spec
    from orchestrator.spec.settings import SAMPLERS, SCHEDULERS
    from tinytl.storage import write_atomically

    samplers = _names("--sampler", sampler, SAMPLERS)
    schedulers = _names("--scheduler", scheduler, SCHEDULERS)
    spec = load_spec(file, overrides or (), trials=trials)
    rows = read_table(source)
    if table is not None:
        write_table(table, rows)
    console = make_console()
    oracles = {study: Oracle(spec, study, rows) for study in spec.datasets}
    for study, oracle in oracles.items():
        console.print(f"{study}: {oracle.describe()}", highlight=False, soft_wrap=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("simulating", total=None)
        contenders = compare(
            spec,
            oracles,
            samplers,
            schedulers,
            seeds=seeds,
            workers=workers,
            on_progress=lambda done, total: shown.update(task, completed=done, total=total),
        )
    directory = out or Path("runs") / f"{spec.name}-simulated"
    for study, oracle in oracles.items():
        found = [contender for contender in contenders if contender.study == study]
        show(console, study, found)
        results = {"model_errors": oracle.errors, "contenders": numbers(found)}
        title = f"{spec.name}: {study}, mean of {seeds} seeds, {workers} workers"
        write_atomically(directory / f"{study}.json", json.dumps(results, indent=1) + "\n")
        write_atomically(directory / f"{study}.png", picture(found, title))
        console.print(f"picture: {directory / study}.png", highlight=False, soft_wrap=True)


def _names(option: str, text: str, valid: Sequence[str]) -> list[str]:
    """Returns the names of `a,b`, each once."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    problems = [
        f"{option}: {unknown_name('name', name, valid)}" for name in names if name not in valid
    ]
    if problems:
        raise ConfigError(problems)
    return names
