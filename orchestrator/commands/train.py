"""`tinytl train`: one configuration."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.options import Data, Weights, make_console, parse_size
from orchestrator.record.find import RUNS
from tinytl.errors import ConfigError


def train(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE.yaml] [KEY=VALUE]...", help="A configuration, and what to change of it."
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="DIR[:TRIAL]", help="A sweep's trial in place of a file."),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(help="With --from DIR: the best of the front within this memory: 36MB."),
    ] = None,
    study: Annotated[str | None, typer.Option(help="Whose front, if DIR has several.")] = None,
    data: Data = None,
    weights: Weights = None,
    out: Annotated[Path | None, typer.Option(help="For the checkpoint [runs/NAME].")] = None,
    threads: Annotated[
        int | None, typer.Option(help="Processors [the sweep's, or all].", min=1)
    ] = None,
    cache_limit: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Disk for the decoded images.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint, if there is one.")
    ] = False,
) -> None:
    """Train one configuration, of a file or of a sweep, and print what came out."""
    # slow to import, and not needed to list the options
    import torch

    from orchestrator.single import (
        Place,
        config_of_file,
        config_of_trial,
        find_trial,
    )
    from orchestrator.single import train as train_config

    files = [word for word in words or [] if "=" not in word]
    overrides = [word for word in words or [] if "=" in word]
    if len(files) + (source is not None) != 1:
        raise ConfigError(
            "give one configuration to train: a YAML file, or --from DIR:TRIAL, but got "
            + (", ".join([*files, *([f"--from {source}"] if source else [])]) or "neither")
        )
    if source is None:
        if budget is not None or study is not None:
            raise ConfigError("--budget and --study choose of a sweep's front; add --from DIR")
        config = config_of_file(Path(files[0]), overrides)
        name = Path(files[0]).stem
    else:
        budget_bytes = None if budget is None else parse_size("--budget", budget)
        sweep, trial = find_trial(source, budget_bytes, study)
        config = config_of_trial(sweep, trial, overrides)
        threads = threads or sweep.spec.search.threads
        name = f"{sweep.spec.name}-{trial}"
    limit_bytes = None if cache_limit is None else parse_size("--cache-limit", cache_limit)
    place = Place(
        directory=out or RUNS / name,
        resume=resume,
        data=data,
        weights=weights,
        threads=threads or torch.get_num_threads(),
        cache_limit_bytes=limit_bytes,
    )
    console = make_console()
    try:
        train_config(config, place, console)
    except KeyboardInterrupt:
        console.print("stopped; the same command with --resume goes on", style="yellow")
        raise typer.Exit(130) from None
