"""The `tinytl` command.

Sub-commands are entry points of the group `tinytl.commands`, loaded only when they are used, so
that `tinytl memory` needs no ray, optuna or mlflow, and other packages can add commands.
"""

import sys
from importlib.metadata import entry_points, version
from typing import Annotated, Any

import typer
import typer.core
from rich.console import Console

from tinytl.errors import TinyTLError

GROUP = "tinytl.commands"
USER_ERROR = 2


class _Commands(typer.core.TyperGroup):
    """Finds the sub-commands among the installed entry points."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted({point.name for point in entry_points(group=GROUP)})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        for point in entry_points(group=GROUP, name=cmd_name):
            loaded = point.load()
            if not isinstance(loaded, typer.Typer):  # which has sub-commands of its own
                app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
                app.command()(loaded)
                loaded = app
            command = typer.main.get_command(loaded)
            command.name = cmd_name
            return command
        return None


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("tinytl-orchestrator"))
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error was raised.")] = False,
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Sweeps of memory-efficient transfer learning: accuracy against measured memory."""


def main(arguments: list[str] | None = None) -> Any:
    """Runs the command line; a user's mistake ends in its sentence and exit code 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    try:
        # anywhere on the line, as people add it to the command that failed
        return app([word for word in arguments if word != "--debug"], prog_name="tinytl")
    except TinyTLError as error:
        if debug:
            raise
        problem = str(error)
    except OSError as error:  # a full disk or a missing permission, wherever it shows
        if debug:
            raise
        problem = f"{error}; free some space, or correct the path or its permissions"
    console = Console(stderr=True)
    for line in problem.splitlines():
        console.print(f"error: {line}", markup=False, highlight=False, soft_wrap=True)
    sys.exit(USER_ERROR)


if __name__ == "__main__":
    main()
