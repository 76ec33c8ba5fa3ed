"""`tinytl confirm`: whether a sweep's fronts hold up with other seeds."""

from typing import Annotated

import typer

from orchestrator.commands.options import (
    Address,
    Backend,
    Data,
    OnBackend,
    SweepDirectory,
    Weights,
    launch_or_exit,
    make_console,
)
from tinytl.errors import ConfigError


def confirm(
    directory: SweepDirectory = None,
    seeds: Annotated[
        int, typer.Option(help="How many seeds that the search did not use.", min=1, max=100)
    ] = 3,
    data: Data = None,
    weights: Weights = None,
    address: Address = None,
    backend: OnBackend = Backend.ray,
) -> None:
    """Train the members of a sweep's fronts again with other seeds; show mean and spread.

    A second time with more seeds runs only what is missing.
    """
    # slow to import, and not needed to list the options
    from orchestrator.launch import Launch
    from orchestrator.record import SWEEP_FILE
    from orchestrator.record.find import find_sweep
    from orchestrator.record.saved import read_sweep
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
    console = make_console()
    launch_or_exit(spec, how, console, "the same command goes on")
