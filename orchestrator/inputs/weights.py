"""Makes sure, before anything is trained, that its weights are there and fit."""

from collections.abc import Collection, Iterable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from tinytl import builtin
from tinytl.backbones import find_backbone
from tinytl.backbones.weights import find_weights
from tinytl.config import FinetuneConfig, Norm
from tinytl.engine.build import build_network
from tinytl.errors import TinyTLError
from tinytl.finetune import EpochReport


def prepare_weights(
    networks: Iterable[tuple[str, str, Norm | None]],
    directory: Path | None,
    classes: Collection[int],
    console: Console,
) -> list[str]:
    """Builds or downloads what is missing, and loads all weights once, as trials will.

    Args:
        networks: The backbone, the weights and the normalization layers of each.
        directory: Where to look for weights first.
        classes: Of the datasets.
        console: Says what is downloaded, and where a trial's classifier is new.

    Returns:
        A sentence for each problem.
    """
    problems: list[str] = []
    for backbone, weights, norm in networks:
        if weights == "random":
            continue
        if weights == builtin.WEIGHTS_NAME:
            _build_source_model(console)
        try:
            _download(backbone, weights, norm, directory, console)
            replaced = [
                _replaces_head(backbone, weights, norm, directory, n) for n in set(classes) or {1}
            ]
        except TinyTLError as error:
            problems.append(str(error))
            continue
        if any(replaced):
            console.print(
                f"{backbone}: the {weights} weights know other classes, so that trials start with "
                "a new classifier",
                highlight=False,
            )
    return list(dict.fromkeys(problems))


def _download(
    backbone: str, weights: str, norm: Norm | None, directory: Path | None, console: Console
) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task(f"weights of {backbone}", total=None, visible=False)
        downloaded = False

        def show(done: int, total: int | None) -> None:
            nonlocal downloaded
            downloaded = True
            progress.update(task, completed=done, total=total, visible=True)

        path = find_weights(weights, backbone, directory, norm=norm, on_progress=show)
    if downloaded:
        console.print(f"downloaded {path}", highlight=False, soft_wrap=True)


def _replaces_head(
    backbone: str, weights: str, norm: Norm | None, directory: Path | None, classes: int
) -> bool:
    """Returns whether a trial's classifier is new, after loading all else that its weights have."""
    config = FinetuneConfig(
        dataset="any",
        backbone=backbone,
        norm=norm,
        method="last",
        resolution=find_backbone(backbone).min_resolution,
        batch_size=1,
        weights=weights,
    )
    return build_network(config, classes, weights_directory=directory).head_replaced


def _build_source_model(console: Console) -> None:
    if builtin.weights_path().exists():
        return
    epochs = builtin.SOURCE.epochs
    console.print(f"pre-training the built-in source model, once ({epochs} epochs)")

    def show(report: EpochReport) -> None:
        loss, seconds = report.metrics["train_loss"], report.metrics["epoch_seconds"]
        console.print(f"  epoch {report.epoch}/{epochs}: loss {loss:.3f}, {seconds:.0f} s")

    builtin.build_weights(show)
