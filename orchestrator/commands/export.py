"""`tinytl export`: what a run trained, as a folder that one line loads."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from orchestrator.commands.options import Weights, make_console, parse_size
from tinytl.errors import ConfigError

if TYPE_CHECKING:
    from orchestrator.checkpoints import Found
    from orchestrator.tracking.registry import Registry
    from tinytl.export import Exported, Trained

_EXPORTED = Path("exported")


class Format(StrEnum):
    """A file of the network, see `tinytl.export.FORMATS`."""

    state = "state"
    torch_export = "torch.export"
    onnx = "onnx"


def export(
    which: Annotated[
        str,
        typer.Argument(
            metavar="[DIR:]TRIAL|DIR", help="A sweep's trial, or a run of `tinytl train`."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="The new folder; default: exported/NAME.", metavar="DIR")
    ] = None,
    formats: Annotated[
        list[Format] | None,
        typer.Option(
            "--format", help="May be given several times; default: all that can be written."
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(help="With a sweep's DIR: the best of the front within this memory: 36MB."),
    ] = None,
    study: Annotated[str | None, typer.Option(help="Whose front, if DIR has several.")] = None,
    weights: Weights = None,
    register: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Also register it as a version of this MLflow model."),
    ] = None,
) -> None:
    """Write the whole network of a trial or run, its configuration and its memory report."""
    # slow to import, and not needed to list the options
    from orchestrator.checkpoints import find_checkpoint
    from tinytl.export import check_target, read_trained, write_folder

    budget_bytes = None if budget is None else parse_size("--budget", budget)
    found = find_checkpoint(which, budget_bytes, study)
    out = out or _EXPORTED / found.name
    check_target(out)
    registry = None if register is None else _registry(found)
    trained = read_trained(found.path)
    console = make_console()
    with console.status(f"exporting {found.source}"):
        done = write_folder(
            trained, out, formats=[str(f) for f in formats or ()], weights=weights,
            source=found.source,
        )  # fmt: skip
    _show(done, trained, console)
    if registry is not None and register is not None:
        _register(registry, register, trained, found, out, console)


def _show(done: "Exported", trained: "Trained", console: Console) -> None:
    def show(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True, markup=False)

    if trained.epoch < trained.config.epochs:
        show(f"the run is not finished: epoch {trained.epoch} of {trained.config.epochs}")
    for name, size in done.files.items():
        show(f"{done.directory / name}: {size / 1e3:,.1f} kB")
    for reason in done.left_out.values():
        show(f"left out: {reason.removeprefix('--format ')}")
    show(f"largest difference of outputs from the trained network: {done.difference:.1e}")
    if "model.pt" in done.files:
        show(f'load it: import tinytl.export; tinytl.export.load("{done.directory}")')


def _registry(found: "Found") -> "Registry":
    if found.sweep is None:
        raise ConfigError(
            "--register: needs a sweep's trial, which has a run in MLflow, but "
            f"{found.path.parent} is a single run; leave it out"
        )
    from orchestrator.record import sweep_id
    from orchestrator.tracking.registry import Registry
    from orchestrator.tracking.store import SQLITE, STORE_FILE

    directory = found.sweep.directory
    uri = found.sweep.spec.tracking.uri or f"{SQLITE}{directory.resolve() / STORE_FILE}"
    return Registry(uri, sweep_id(directory), found.trial)


def _register(
    registry: "Registry", name: str, trained: "Trained", found: "Found", out: Path, console: Console
) -> None:
    from orchestrator.tracking.registry import alias_of

    peak_bytes = trained.metrics["peak_bytes"]
    tags = {"tinytl.trial": found.trial, "peak_bytes": str(int(peak_bytes))}
    alias = alias_of(peak_bytes)
    version = registry.register(out, name, alias, tags)
    text = f"registered: version {version} of {name}, models:/{name}@{alias}"
    console.print(text, highlight=False, soft_wrap=True, markup=False)
