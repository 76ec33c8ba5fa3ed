"""`tinytl data`: which datasets there are, how to get one, whether it is whole, what is kept."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from orchestrator.commands.options import make_console
from tinytl.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from tinytl.data import DatasetInfo

INCOMPLETE = 1
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Folder of the datasets; default: TINYTL_DATA, or ~/.cache/tinytl/data.",
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a dataset.")]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="List, fetch and check datasets; clear what is kept of their images.",
)


@app.command("ls")
def list_datasets(data: Data = None) -> None:
    """List the datasets known by name: their sizes, what is there, and how to get the others."""
    # slow to import, and not needed to list the options
    from tinytl.data import DATASETS, default_root, places

    root = data or default_root()
    table = Table("dataset")
    for column in ("classes", "training", "validation", "test"):
        table.add_column(column, justify="right")
    table.add_column("there")
    table.add_column("how to get it")
    for info in DATASETS.values():
        place = next(places(info.name, root), None)
        where = "built in" if not info.needs_data else place.name if place else "-"
        table.add_row(info.name, *_sizes(info), where, _how_to_get(info))
    console = make_console()
    console.print(f"Datasets in {root}:", highlight=False, soft_wrap=True)
    console.print(table)


@app.command("fetch")
def fetch(name: Name, data: Data = None) -> None:
    """Download and unpack a dataset, or say which archive to place where."""
    from tinytl.data import DATASETS, default_root
    from tinytl.data.sources.fetch import fetch_dataset

    if name not in DATASETS:
        raise ConfigError(f"{unknown_name('dataset', name, DATASETS)}; own folders are not fetched")
    console = make_console()
    if not DATASETS[name].needs_data:
        console.print(f"{name} is built in; there is nothing to fetch")
    with _progress(console) as on_progress:
        for line in fetch_dataset(DATASETS[name], data or default_root(), on_progress):
            console.print(line, highlight=False, soft_wrap=True)


@app.command("check")
def check(
    name: Name,
    data: Data = None,
    every_image: Annotated[
        bool, typer.Option("--all", help="Decode every image, not a sample of each split.")
    ] = False,
) -> None:
    """Compare a dataset with what it must be; exit code 1 if anything is not as it must be."""
    from tinytl.data import dataset_info
    from tinytl.data.sources.check import check_dataset

    console = make_console()
    whole = True
    with _progress(console) as on_progress:
        decoding = on_progress("decoding images")
        for finding in check_dataset(
            dataset_info(name), data, every_image=every_image, on_progress=decoding
        ):
            whole &= finding.ok
            mark = "[green]ok[/green]   " if finding.ok else "[red]wrong[/red]"
            console.print(mark, end=" ")
            console.print(finding.text, markup=False, highlight=False, soft_wrap=True)
    if not whole:
        raise typer.Exit(INCOMPLETE)


@app.command("clear")
def clear() -> None:
    """Delete the decoded images that runs share; the next run decodes what it needs again."""
    from tinytl.data import clear_cache, images_directory

    freed = f"deleted {clear_cache() / 1e6:,.1f} MB of decoded images in {images_directory()}"
    make_console().print(freed, highlight=False, soft_wrap=True)


def _sizes(info: "DatasetInfo") -> list[str]:
    counts = info.counts
    if counts is None:
        return ["-"] * 4
    classes = f"{counts.classes} labels" if info.multi_label else f"{counts.classes}"
    return [classes, *(f"{n:,}" for n in (counts.train, counts.validation, counts.test))]


def _how_to_get(info: "DatasetInfo") -> str:
    if not info.needs_data:
        return "-"
    by_hand = any(archive.url is None for archive in info.archives)
    return f"tinytl data fetch {info.name}" + (" says how" if by_hand else "")


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str], Callable[[int, int | None], None]]]:
    """Shows a bar in a terminal for whatever begins while this is open."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    shown = Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )

    def begin(what: str) -> Callable[[int, int | None], None]:
        task = shown.add_task(what, total=None)
        return lambda done, total: shown.update(task, completed=done, total=total)

    with shown:
        yield begin
