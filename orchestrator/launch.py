"""Launches a sweep: checks everything that can be checked first, runs it, and shows its fronts."""

import itertools
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress as Bar
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
from orchestrator.weights import prepare_weights
from tinytl.data import Splits, cache_side, cached, dataset_info, load_splits
from tinytl.errors import ConfigError, TinyTLError, TrainingError
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
        cache_limit_bytes: The most that the cache of decoded images may keep of a dataset; None for
            the default.
    """

    directory: Path
    resume: bool = False
    data: Path | None = None
    weights: Path | None = None
    backend: Backend = "ray"
    address: str | None = None
    cache_limit_bytes: int | None = None


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
    datasets: dict[str, Splits] = {}
    (validation,) = spec.values("validation")
    for dataset in spec.datasets:
        try:
            datasets[dataset] = load_splits(dataset, how.data, validation=validation)
        except TinyTLError as error:
            problems.append(str(error))
    classes = {name: len(splits.classes) for name, splits in datasets.items()}
    problems += prepare_weights(spec, how.weights, classes.values(), console)
    if problems:
        raise ConfigError(problems)
    if how.address is None:  # else each node builds a cache of its own
        for splits in datasets.values():
            _cache_images(spec, splits, how.cache_limit_bytes, console)
    return Site(
        data=how.data,
        weights=how.weights,
        device="cuda" if torch.cuda.is_available() else "cpu",
        classes=classes,
        predict=partial(predicted_peak_bytes, weights=how.weights),
        cache_limit_bytes=how.cache_limit_bytes,
    )


def _cache_images(
    spec: SweepSpec, splits: Splits, limit_bytes: int | None, console: Console
) -> None:
    """Decodes the images that trials will share, so that the first of them need not."""
    resolution, info = max(spec.values("resolution")), dataset_info(splits.name)
    sides = {cache_side(resolution, info, scale) for scale in spec.values("crop_scale")}
    with Bar(console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task(f"decoding the images of {splits.name}", total=None)

        def on_progress(done: int, total: int) -> None:
            shown.update(task, completed=done, total=total)

        for side in sorted(sides):
            cached(splits, side=side, limit_bytes=limit_bytes, on_progress=on_progress)


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
