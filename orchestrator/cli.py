"""The `tinytl` command.

Sub-commands are entry points of the group `tinytl.commands`, loaded only when they are used, so
that `tinytl memory` needs no ray, optuna or mlflow, and other packages can add commands.
"""

import sys
from importlib.metadata import entry_points
from typing import Any

import click
import typer
from rich.console import Console

from tinytl.errors import TinyTLError

GROUP = "tinytl.commands"
USER_ERROR = 2


class _Commands(click.Group):
    """Finds the sub-commands among the installed entry points."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({point.name for point in entry_points(group=GROUP)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for point in entry_points(group=GROUP, name=cmd_name):
            app = typer.Typer(add_completion=False)
            app.command(name=cmd_name)(point.load())
            return typer.main.get_command(app)
        return None


@click.command(
    cls=_Commands,
    help="Sweeps of memory-efficient transfer learning: accuracy against measured memory.",
)
@click.option("--debug", is_flag=True, help="Show where an error was raised.")
@click.version_option(package_name="tinytl-orchestrator")
@click.pass_context
def app(ctx: click.Context, debug: bool) -> None:
    """Takes the options that come before the sub-command."""
    ctx.obj = {"debug": debug}


def main(arguments: list[str] | None = None) -> Any:
    """Runs the command line; a user's mistake ends in its sentence and exit code 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        return app(arguments, prog_name="tinytl")
    except TinyTLError as error:
        if "--debug" in arguments:
            raise
        console = Console(stderr=True)
        for line in str(error).splitlines():
            console.print(f"error: {line}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(USER_ERROR)


if __name__ == "__main__":
    main()
