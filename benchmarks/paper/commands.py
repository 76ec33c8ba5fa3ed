"""`tinytl bench`: the paper's figures, reproduced and reported."""

import difflib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from orchestrator.commands.options import Address, Backend, Data, OnBackend, Weights, make_console
from tinytl.errors import ConfigError, TinyTLError, unknown_name

if TYPE_CHECKING:
    from benchmarks.paper.experiments import Experiment
    from benchmarks.paper.experiments.base import Place
    from benchmarks.paper.results import Cell, Results

SCALES = ("smoke", "cpu", "full")
FAILED, STOPPED = 1, 130
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
    from benchmarks.paper.experiments import EXPERIMENTS
    from benchmarks.paper.experiments.base import Scale
    from benchmarks.paper.results import Results

    claims = load_claims()
    console = make_console()
    table = Table("experiment", "what it finds out", "scale")
    for column in ("claims", "done", "outdated", "missing"):
        table.add_column(column, justify="right")
    for name, experiment in EXPERIMENTS.items():
        reproduced = sum(claim.experiment == name for claim in claims)
        for scale in Scale:
            states = [Results(out / name).state(cell) for cell in experiment.cells(claims, scale)]
            counts = [states.count(state) for state in ("done", "outdated", "missing")]
            first = (name, experiment.about) if scale is Scale.smoke else ("", "")
            shown = str(reproduced or "") if scale is Scale.smoke else ""
            table.add_row(*first, scale.value, shown, *map(str, counts))
    console.print(table)
    waiting = [claim.not_yet for claim in claims if claim.not_yet]
    for reason in dict.fromkeys(waiting):
        text = f"not yet, {waiting.count(reason)} claims: {reason}"
        console.print(text, highlight=False, markup=False, soft_wrap=True)


@app.command("run")
def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of an experiment.")],
    scale: Annotated[
        str, typer.Option(help="smoke (minutes), cpu (a quarter of an hour) or full.")
    ] = "cpu",
    only: Annotated[
        str | None,
        typer.Option(metavar="CELL", help="Run this cell or group alone, done or not."),
    ] = None,
    data: Data = None,
    weights: Weights = None,
    backend: OnBackend = Backend.ray,
    address: Address = None,
    out: Out = _OUT,
) -> None:
    """Run what is missing or outdated of an experiment; each result is a file of its own."""
    # slow to import, and not needed to list the options
    from benchmarks.paper.claims import load_claims
    from benchmarks.paper.experiments import EXPERIMENTS, find_experiment
    from benchmarks.paper.experiments.base import Place, Scale
    from benchmarks.paper.results import Results

    problems = []
    if name not in EXPERIMENTS:
        problems.append(unknown_name("experiment", name, EXPERIMENTS))
    if scale not in SCALES:
        problems.append(f"--scale: {unknown_name('scale', scale, SCALES)}")
    if problems:
        raise ConfigError(problems)
    experiment, results, claims = find_experiment(name), Results(out / name), load_claims()
    console = make_console()
    if only is None:
        known = experiment.cells(claims, Scale(scale))
        chosen = [cell for cell in known if results.find(cell) is None]
        done = len(known) - len(chosen)
    else:
        chosen, done = _chosen(experiment.all_cells(claims), only), 0
    console.print(f"{name}: {done} cells are done, {len(chosen)} to run", highlight=False)
    place = Place(results.directory, console, data, weights, backend.value, address)
    failed = _run_all(experiment, chosen, place, results)
    console.print(f"results in {results.directory}; next: tinytl bench report", highlight=False)
    if failed:
        console.print(f"{failed} of {len(chosen)} cells could not be run", highlight=False)
        raise typer.Exit(FAILED)


@app.command("report")
def report(out: Out = _OUT) -> None:
    """Write report.html and report.md: the paper's figures, ours, and what is not yet."""
    # slow to import, and not needed to list the options
    from benchmarks.paper.claims import load_claims
    from benchmarks.paper.experiments import EXPERIMENTS
    from benchmarks.paper.report import html_page, markdown, read_findings, summary
    from benchmarks.paper.results import Results
    from tinytl.storage import write_atomically

    claims = load_claims()
    findings = read_findings(claims, out)
    write_atomically(out / "report.md", markdown(findings))
    write_atomically(out / "report.html", html_page(findings))
    console = make_console()
    console.print(summary(findings.rows), highlight=False)
    console.print(f"{out / 'report.html'} and report.md are written", highlight=False)
    for name, experiment in EXPERIMENTS.items():
        states = map(Results(out / name).state, experiment.all_cells(claims))
        if outdated := list(states).count("outdated"):
            console.print(
                f"{outdated} results are outdated and left out: the library, torch, the settings "
                f"or the number of threads are others now; tinytl bench run {name} makes them anew",
                highlight=False,
                soft_wrap=True,
            )


def _chosen(known: "list[Cell]", only: str) -> "list[Cell]":
    found = [cell for cell in known if only in (cell.name, cell.group)]
    if not found:
        names = [name for cell in known for name in (cell.group, cell.name)]
        close = difflib.get_close_matches(only, names, n=3) or list(dict.fromkeys(names))[:3]
        raise ConfigError(
            f"--only: must be a cell or a group, such as {', '.join(close)}, but got {only!r}; "
            "the report of `tinytl bench report` names that of each row"
        )
    return found


def _run_all(
    experiment: "Experiment", cells: "list[Cell]", place: "Place", results: "Results"
) -> int:
    """Runs the cells one after the other, and returns how many could not be run."""
    from benchmarks.paper.experiments.base import StoppedError

    failed = 0
    for number, cell in enumerate(cells, 1):
        begin = time.perf_counter()
        try:
            text = _run_and_keep(experiment, cell, place, results)
        except StoppedError:
            place.console.print("stopped; the same command goes on", style="yellow")
            raise typer.Exit(STOPPED) from None
        except TinyTLError as error:  # the others can still be run
            text = f"could not be run: {error}"
            results.write_problem(cell, str(error))
            failed += 1
        seconds = time.perf_counter() - begin
        line = f"{number}/{len(cells)}  {cell.name}: {text} ({seconds:.1f} s)"
        place.console.print(line, highlight=False, markup=False, soft_wrap=True)
    return failed


def _run_and_keep(
    experiment: "Experiment", cell: "Cell", place: "Place", results: "Results"
) -> str:
    """Runs a cell, keeps what it found, and returns that in a few words."""
    from benchmarks.paper.results import origin

    numbers = experiment.run(cell, place)
    results.write(cell, numbers, origin(results.directory))
    return experiment.in_words(numbers)
