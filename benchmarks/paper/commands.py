"""`tinytl bench`: the paper's figures, reproduced and reported."""

import difflib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from orchestrator.commands.options import make_console
from tinytl.errors import ConfigError, TinyTLError, unknown_name

if TYPE_CHECKING:
    from benchmarks.paper.results import Cell, Results

EXPERIMENTS = ("paper-memory",)
SCALES = ("smoke", "cpu", "full")
FAILED = 1
Out = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Holds a folder for each experiment.")
]
_OUT = Path("runs/bench")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Reproduce the paper's figures, and report what was found.",
)


@app.command("ls")
def list_experiments(out: Out = _OUT) -> None:
    """List the experiments, how far each is, and what is not reproduced yet."""
    # slow to import, and not needed to list the options
    from benchmarks.paper.claims import load_claims
    from benchmarks.paper.memory import NAME, cells
    from benchmarks.paper.results import Results

    claims = load_claims()
    results = Results(out / NAME)
    states = [results.state(cell) for cell in cells(claims)]
    console = make_console()
    table = Table("experiment")
    for column in ("claims", "cells done", "outdated", "missing"):
        table.add_column(column, justify="right")
    reproduced = sum(claim.experiment == NAME for claim in claims)
    counts = [states.count(state) for state in ("done", "outdated", "missing")]
    table.add_row(NAME, str(reproduced), *map(str, counts))
    console.print(table)
    waiting = [claim.not_yet for claim in claims if claim.not_yet]
    for reason in dict.fromkeys(waiting):
        text = f"not yet, {waiting.count(reason)} claims: {reason}"
        console.print(text, highlight=False, markup=False, soft_wrap=True)


@app.command("run")
def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of an experiment.")],
    scale: Annotated[
        str, typer.Option(help="smoke (a minute), cpu (all claims) or full (every shape).")
    ] = "cpu",
    only: Annotated[
        str | None,
        typer.Option(metavar="CELL", help="Run this cell or network alone, done or not."),
    ] = None,
    out: Out = _OUT,
) -> None:
    """Run what is missing or outdated of an experiment; each result is a file of its own."""
    problems = []
    if name not in EXPERIMENTS:
        problems.append(unknown_name("experiment", name, EXPERIMENTS))
    if scale not in SCALES:
        problems.append(f"--scale: {unknown_name('scale', scale, SCALES)}")
    if problems:
        raise ConfigError(problems)
    # slow to import, and not needed to list the options
    from benchmarks.paper.claims import load_claims
    from benchmarks.paper.memory import Scale, cells
    from benchmarks.paper.results import Results

    results, claims = Results(out / name), load_claims()
    if only is None:
        known = cells(claims, Scale(scale))
        chosen = [cell for cell in known if results.find(cell) is None]
        done = len(known) - len(chosen)
    else:
        chosen, done = _chosen(cells(claims, Scale.full), only), 0
    console = make_console()
    console.print(f"{name}: {done} cells are done, {len(chosen)} to run", highlight=False)
    failed = 0
    for number, cell in enumerate(chosen, 1):
        begin = time.perf_counter()
        text = _run_and_keep(cell, results)
        failed += text.startswith("failed")
        seconds = time.perf_counter() - begin
        line = f"{number}/{len(chosen)}  {cell.name}: {text} ({seconds:.1f} s)"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(f"results in {results.directory}; next: tinytl bench report", highlight=False)
    if failed:
        raise typer.Exit(FAILED)


@app.command("report")
def report(out: Out = _OUT) -> None:
    """Write report.html and report.md: the paper's figures, ours, and what is not yet."""
    # slow to import, and not needed to list the options
    from benchmarks.paper import memory
    from benchmarks.paper.claims import load_claims
    from benchmarks.paper.comparison import compare
    from benchmarks.paper.memory import Scale
    from benchmarks.paper.report import html_page, markdown, summary
    from benchmarks.paper.results import Results
    from tinytl.storage import write_atomically

    claims = load_claims()
    rows = compare(claims, out)
    write_atomically(out / "report.md", markdown(rows))
    write_atomically(out / "report.html", html_page(rows))
    console = make_console()
    console.print(summary(rows), highlight=False)
    console.print(f"{out / 'report.html'} and report.md are written", highlight=False)
    results = Results(out / memory.NAME)
    outdated = sum(results.state(cell) == "outdated" for cell in memory.cells(claims, Scale.full))
    if outdated:
        console.print(
            f"{outdated} results are outdated and left out: the library, torch, the settings or "
            f"the number of threads are others now; tinytl bench run {memory.NAME} makes them anew",
            highlight=False,
            soft_wrap=True,
        )


def _chosen(known: "list[Cell]", only: str) -> "list[Cell]":
    found = [cell for cell in known if only in (cell.name, cell.group)]
    if not found:
        names = [name for cell in known for name in (cell.group, cell.name)]
        close = difflib.get_close_matches(only, names, n=3) or names[:3]
        raise ConfigError(
            f"--only: must be a cell or a network, such as {', '.join(close)}, but got {only!r}; "
            "the report of `tinytl bench report` names that of each row"
        )
    return found


def _run_and_keep(cell: "Cell", results: "Results") -> str:
    """Runs a cell, keeps what it found, and returns that in a few words."""
    from benchmarks.paper import memory
    from benchmarks.paper.results import origin

    try:
        numbers = memory.run(cell)
    except TinyTLError as error:  # the others can still be run
        return f"failed: {error}"
    results.write(cell, numbers, origin(results.directory))
    found = numbers.get("peak_bytes", numbers.get("modeled_bytes", 0))
    return f"{found / 1e6:.1f} MB"
