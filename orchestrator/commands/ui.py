"""`tinytl ui`: the sweep's runs and fronts in a browser."""

import os
import signal
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from orchestrator.commands.options import SweepDirectory
from orchestrator.record.find import find_sweep
from tinytl.errors import ConfigError


def ui(
    directory: SweepDirectory = None,
    experiment: Annotated[
        str | None,
        typer.Option(help="Another experiment of the sweep's store, by its name."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port; default: the first free one from 5000 on."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; anything but loopback lets others in.")
    ] = "127.0.0.1",
    allowed_hosts: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...", help="Names that others write for this machine in their browser."
        ),
    ] = None,
    auth: Annotated[
        bool, typer.Option("--auth", help="Ask for a password; see docs/how_to/share_results.md.")
    ] = False,
    browse: Annotated[
        bool | None,
        typer.Option("--open/--no-open", help="Open the first link; default: if a screen is here."),
    ] = None,
) -> None:
    """Show a sweep's runs and Pareto fronts in a browser, until Ctrl-C."""
    from orchestrator.ui.address import Address, check_reach, parse_allowed
    from orchestrator.ui.experiments import choose_experiment
    from orchestrator.ui.ports import choose_port
    from orchestrator.ui.server import is_remote, links, page_link, read_cursor, serve, store_of

    console = Console()
    browse = _has_screen() if browse is None else browse
    directory = find_sweep(directory)
    cursor = read_cursor(directory)
    store = store_of(directory, cursor)
    allowed = parse_allowed(allowed_hosts)
    check_reach(host, allowed)
    if is_remote(cursor) and (auth or allowed):
        raise ConfigError(
            "--auth and --allowed-hosts are for a server that is started here, but "
            f"{directory} is tracked on {store}; leave them out, and set them on that server"
        )
    if experiment is not None:
        cursor = choose_experiment(cursor, store, experiment)
    if is_remote(cursor):
        console.print(f"{directory} is tracked on a server of its own:")
        _show(console, links(cursor, store), browse)
        return
    address = Address(host, choose_port(host, port), allowed)
    # also SIGINT: a shell that starts us in the background has it ignored
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, signal.default_int_handler)
    try:
        console.print(f"starting the MLflow server for {directory} ...")
        with serve(directory, cursor, address, auth=auth) as server:
            _say_who_gets_in(console, directory, host, auth)
            pages = [page_link(cursor, address.link), *links(cursor, address.link)]
            _show(console, pages, browse)
            console.print("Ctrl-C ends it.")
            server.wait()
    except KeyboardInterrupt:
        console.print("The server is stopped.")


def _say_who_gets_in(console: Console, directory: Path, host: str, auth: bool) -> None:
    from orchestrator.ui.address import is_loopback
    from orchestrator.ui.auth import ACCOUNTS_FILE, ADMIN

    if auth:
        console.print(
            f"user {ADMIN}; the first password is in {directory / ACCOUNTS_FILE}, which only you "
            "can read",
            soft_wrap=True,
        )
    if not is_loopback(host):
        console.print(
            "warning: passwords are sent unencrypted; put a proxy with TLS in front"
            if auth
            else "warning: everybody who reaches this machine can read and change all runs; --auth "
            "asks for a password",
            style="yellow",
            soft_wrap=True,
        )


def _show(console: Console, links: list[tuple[str, str]], browse: bool) -> None:
    for what, link in links:
        console.print(f"{what}: {link}", soft_wrap=True, highlight=False, markup=False)
    if browse and not webbrowser.open(links[0][1]):
        console.print("no browser could be opened; open the first link yourself")


def _has_screen() -> bool:
    """Returns whether somebody sits here, at a screen that can show a browser."""
    screens = ("DISPLAY", "WAYLAND_DISPLAY")
    has_one = sys.platform in ("darwin", "win32") or any(map(os.environ.get, screens))
    return sys.stdout.isatty() and has_one
