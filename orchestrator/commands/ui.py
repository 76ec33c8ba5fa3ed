"""`tinytl ui`: the sweep's runs and fronts in a browser."""

import signal
from typing import Annotated

import typer
from rich.console import Console

from orchestrator.commands.options import SweepDirectory
from orchestrator.record.find import find_sweep


def ui(
    directory: SweepDirectory = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port; default: the first free one from 5000 on."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; anything but loopback lets others in.")
    ] = "127.0.0.1",
) -> None:
    """Show a sweep's runs and Pareto fronts in a browser, until Ctrl-C."""
    from orchestrator.ui.ports import choose_port
    from orchestrator.ui.server import is_remote, links, read_cursor, serve

    console = Console()
    directory = find_sweep(directory)
    cursor = read_cursor(directory)
    if is_remote(cursor):
        console.print(f"{directory} is tracked on a server of its own:")
        _print_links(console, links(cursor, str(cursor.store)))
        return
    port = choose_port(host, port)
    # also SIGINT: a shell that starts us in the background has it ignored
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, signal.default_int_handler)
    try:
        console.print(f"starting the MLflow server for {directory} ...")
        with serve(directory, cursor, host, port) as server:
            _print_links(console, links(cursor, server.url))
            console.print("Ctrl-C ends it.")
            server.wait()
    except KeyboardInterrupt:
        console.print("The server is stopped.")


def _print_links(console: Console, links: list[tuple[str, str]]) -> None:
    for what, link in links:
        console.print(f"{what}: {link}", soft_wrap=True, highlight=False, markup=False)
