"""`tinytl sync`: upload what a sweep could not, because the MLflow server was away."""

from typing import Annotated

import typer

from orchestrator.commands.options import SweepDirectory, make_console
from tinytl.errors import TinyTLError


def sync(
    directory: SweepDirectory = None,
    minutes: Annotated[
        float, typer.Option(help="How long to try while the server is away.", min=0)
    ] = 10.0,
) -> None:
    """Upload to MLflow what is recorded of a sweep and not there yet, each thing once.

    A running sweep does so itself.
    """
    # slow to import, and not needed to list the options
    from orchestrator.launch import tracker_of
    from orchestrator.record import take_lock
    from orchestrator.record.find import find_sweep
    from orchestrator.record.saved import read_sweep

    directory = find_sweep(directory)
    console = make_console()
    with take_lock(directory):
        tracker = tracker_of(directory, read_sweep(directory).spec)
        with console.status(f"uploading to {tracker.store_uri}"):
            tracker.start()
            uploaded = tracker.close(minutes * 60)
    if not uploaded:
        raise TinyTLError(f"not all could be uploaded: {tracker.problem}")
    console.print(f"{tracker.store_uri} has all of {directory}", highlight=False, soft_wrap=True)
