"""What several commands have in common: options, the console, and how a sweep's command ends."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic_core import PydanticCustomError
from rich.console import Console

from tinytl.errors import ConfigError
from tinytl.sizes import parse_bytes

if TYPE_CHECKING:
    from orchestrator.launch import Launch
    from orchestrator.spec import SweepSpec

_LINE_WIDTH = 120  # of a log


class Backend(StrEnum):
    """Where trials run."""

    ray = "ray"
    local = "local"


SweepDirectory = Annotated[
    Path | None,
    typer.Argument(metavar="[DIR]", help="A sweep's directory; default: the newest in runs/."),
]
Data = Annotated[Path | None, typer.Option(help="Root of the datasets, or one of them.")]
Weights = Annotated[Path | None, typer.Option(help="Directory of weights files.")]
Address = Annotated[str | None, typer.Option(help="Of a running Ray cluster.")]
OnBackend = Annotated[
    Backend, typer.Option(help="local runs one trial after the other, without Ray.")
]


def make_console() -> Console:
    """Returns a console as wide as the terminal, or as the lines of a log."""
    return Console(width=None if sys.stdout.isatty() else _LINE_WIDTH)


def launch_or_exit(spec: "SweepSpec", how: "Launch", console: Console, go_on: str) -> None:
    """Runs a sweep, and ends the command with status 130 if the sweep was stopped.

    Args:
        spec: The sweep file.
        how: Where and how to run it.
        console: Shows what happens.
        go_on: Says what goes on with a stopped sweep.

    Raises:
        TinyTLError: As `orchestrator.launch.launch`.
    """
    from orchestrator.launch import launch  # slow to import, and not needed to list the options

    if not launch(spec, how, console):
        console.print(f"stopped; {go_on}", style="yellow")
        raise typer.Exit(130)


def parse_size(option: str, text: str) -> int:
    """Returns the bytes of an option's text, such as 36MB, or 36000000.

    Raises:
        ConfigError: If it is no size.
    """
    try:
        return int(parse_bytes(int(text) if text.isdecimal() else text))
    except PydanticCustomError as error:
        raise ConfigError(f"{option}: {error.message()}, but got {text!r}") from None
