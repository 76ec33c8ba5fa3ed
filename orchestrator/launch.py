"""Launches a sweep: checks everything that can be checked first, runs it, and shows its fronts."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from orchestrator.backends import local
from orchestrator.pareto import front_table
from orchestrator.plots import write_pictures
from orchestrator.progress import Progress
from orchestrator.record import EVENTS_FILE, SWEEP_FILE, SweepRecord
from orchestrator.resources import predicted_peak_bytes
from orchestrator.spec import SweepSpec, load_spec
from orchestrator.sweep import Site, Sweep
from orchestrator.tracking import Tracker
from tinytl import builtin
from tinytl.backbones import find_backbone
from tinytl.config import FinetuneConfig
from tinytl.data import load_splits
from tinytl.engine.build import build_network
from tinytl.errors import ConfigError, TinyTLError, TrainingError
from tinytl.finetune import EpochReport
from tinytl.storage import write_atomically

Backend = Literal["ray", "local"]
_SECONDS_TO_UPLOAD, _SECONDS_TO_UPLOAD_AFTER_ERROR = 60.0, 5.0
_REASONS = 5  # of failed trials that are shown
# what a resumed sweep may have otherwise than before: how much is run, not what
_FREE = {"search": {"trials", "workers"}, "limits": {"hours"}, "tracking": {"experiment", "uri"}}


@dataclass(frozen=True)
class Launch:
    """Where and how to run a sweep.

    Attributes:
        directory: The sweep's directory.
        resume: Go on with the sweep that is in it.
        data: Root of the datasets.
        weights: Where to look for weights first.
        backend: `ray`, or `local` for one trial after the other in this process.
        address: Of a running Ray cluster.
    """

    directory: Path
    resume: bool = False
    data: Path | None = None
    weights: Path | None = None
    backend: Backend = "ray"
    address: str | None = None


def launch(spec: SweepSpec, how: Launch, console: Console) -> bool:
    """Runs a sweep to its end, or until Ctrl-C.

    Nothing is created before the datasets and weights are found to be usable.

    Returns:
        Whether the sweep is finished; otherwise `--resume` goes on.

    Raises:
        TinyTLError: If something is missing or wrong, or the record cannot be written.
    """
    site = _prepare(spec, how, console)
    record = _open(spec, how)
    tracker = Tracker(
        how.directory,
        sweep=record.id,
        experiment=spec.tracking.experiment or spec.name,
        objectives=spec.objectives,
        limits={} if spec.limits.peak_bytes is None else {"peak_bytes": spec.limits.peak_bytes},
        uri=spec.tracking.uri,
    )
    tracker.start()
    patience = _SECONDS_TO_UPLOAD
    try:
        sweep = Sweep(spec, record, site, notify=lambda: _changed(tracker, progress))
        progress = Progress(console, sweep)
        with progress:
            interrupted = _run(sweep, how)
    except TinyTLError:
        patience = _SECONDS_TO_UPLOAD_AFTER_ERROR  # what stopped the sweep may stop uploads too
        raise
    finally:
        console.print("uploading what is left to MLflow", highlight=False)
        if not tracker.close(patience):
            console.print(f"not all could be uploaded: {tracker.problem}", style="yellow")
        record.close()
    _show_fronts(sweep, how, console)
    _show_failures(sweep, how, console)
    return not interrupted and not sweep.unfinished


def _prepare(spec: SweepSpec, how: Launch, console: Console) -> Site:
    problems: list[str] = []
    classes: dict[str, int] = {}
    (validation,) = spec.values("validation")
    for dataset in spec.datasets:
        try:
            splits = load_splits(dataset, how.data, validation=validation)
            classes[dataset] = len(splits.classes)
        except TinyTLError as error:
            problems.append(str(error))
    for backbone, weights in itertools.product(spec.values("backbone"), spec.values("weights")):
        if weights == builtin.WEIGHTS_NAME:
            _build_source_model(console)
        try:
            _try_weights(backbone, weights, how.weights)
        except TinyTLError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(problems)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Site(how.data, how.weights, device, classes, predicted_peak_bytes)


def _try_weights(backbone: str, weights: str, directory: Path | None) -> None:
    """Loads weights into their backbone, as each trial will."""
    config = FinetuneConfig(
        dataset="any",
        backbone=backbone,
        method="last",
        resolution=find_backbone(backbone).min_resolution,
        batch_size=1,
        weights=weights,
    )
    build_network(config, classes=2, weights_directory=directory)


def _build_source_model(console: Console) -> None:
    if builtin.weights_path().exists():
        return
    epochs = builtin.SOURCE.epochs
    console.print(f"pre-training the built-in source model, once ({epochs} epochs)")

    def show(report: EpochReport) -> None:
        loss, seconds = report.metrics["train_loss"], report.metrics["epoch_seconds"]
        console.print(f"  epoch {report.epoch}/{epochs}: loss {loss:.3f}, {seconds:.0f} s")

    builtin.build_weights(show)


def _open(spec: SweepSpec, how: Launch) -> SweepRecord:
    if not how.resume:
        return SweepRecord.create(how.directory, spec.resolved_yaml())
    record = SweepRecord.resume(how.directory)
    earlier = load_spec(str(how.directory / SWEEP_FILE), data=how.data)
    differing = [
        key
        for key in SweepSpec.model_fields
        if earlier.model_dump(exclude=_FREE)[key] != spec.model_dump(exclude=_FREE)[key]
    ]
    if differing:
        record.close()
        raise ConfigError(
            f"{how.directory} was started with another {', '.join(differing)}; resume it with what "
            "its sweep.yaml says, or start a new sweep with --out"
        )
    write_atomically(how.directory / SWEEP_FILE, spec.resolved_yaml())
    return record


def _changed(tracker: Tracker, progress: Progress) -> None:
    tracker.notify()
    progress.update()


def _run(sweep: Sweep, how: Launch) -> bool:
    """Runs the sweep, and returns whether Ctrl-C ended it."""
    try:
        if how.backend == "local":
            local.run(sweep)
        else:
            from orchestrator.backends import ray  # slow to import, and not needed by `local`

            ray.run(sweep, address=how.address)
    except KeyboardInterrupt:
        return True
    return False


def _show_fronts(sweep: Sweep, how: Launch, console: Console) -> None:
    snapshot = sweep.snapshot()
    objectives = sweep.spec.objectives
    for study, found in snapshot.points.items():
        if not found:
            continue
        title = f"{sweep.spec.name}: {study}"
        folder = how.directory / "fronts" / study
        write_pictures(folder, found, objectives, title)
        rows = front_table(snapshot.fronts[study], objectives)
        table = Table(title=f"Pareto front of {study}", title_justify="left", box=SIMPLE_HEAD)
        for heading in rows[0]:
            table.add_column(heading, no_wrap=heading in ("method", "trial"))
        for row in rows:
            table.add_row(*row.values())
        console.print(table)
        console.print(f"picture: {folder / 'front.png'}", highlight=False, soft_wrap=True)


def _show_failures(sweep: Sweep, how: Launch, console: Console) -> None:
    """Prints why trials failed, each reason once.

    Raises:
        TrainingError: If trials failed and none is complete.
    """
    snapshot = sweep.snapshot()
    if not snapshot.failures:
        return
    trials: dict[str, list[str]] = {}
    for trial, reason in snapshot.failures.items():
        trials.setdefault(reason, []).append(trial)
    for reason, failed in itertools.islice(trials.items(), _REASONS):
        text = f"{len(failed)} failed ({failed[0]}): {reason}"
        console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)
    if len(trials) > _REASONS:
        console.print(f"all reasons: {how.directory / EVENTS_FILE}", style="yellow")
    if not any(snapshot.points.values()):
        raise TrainingError(
            f"no trial is complete, and {len(snapshot.failures)} failed; mend what is said above "
            "and start a new sweep with --out"
        )
