"""Launches a sweep: checks everything that can be checked first, runs it, and shows its fronts."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console

from orchestrator.backends import local
from orchestrator.fronts.choice import front_view
from orchestrator.fronts.plots import write_pictures
from orchestrator.hook import run_on_finish
from orchestrator.inputs.images import cache_images
from orchestrator.inputs.prepare import prepare_inputs
from orchestrator.inputs.provenance import environment_of, inputs_of
from orchestrator.inputs.site import Site
from orchestrator.progress import Progress, show_failures
from orchestrator.record import SWEEP_FILE, Asked, Ended, SweepRecord, sweep_id
from orchestrator.record.environment import Input, note_environment
from orchestrator.record.find import find_sweep
from orchestrator.record.retention import Retention
from orchestrator.resources.classes import predicted_peak_bytes
from orchestrator.spec import SweepSpec, load_spec
from orchestrator.sweep import Sweep
from orchestrator.tracking import Tracker
from tinytl.config import flattened
from tinytl.errors import ConfigError, TinyTLError, TrainingError
from tinytl.storage import write_atomically

Backend = Literal["ray", "local"]
_SECONDS_TO_UPLOAD, _SECONDS_TO_UPLOAD_AFTER_ERROR = 60.0, 5.0
# what a resumed sweep may have otherwise than before: how much is run, not what
_FREE: dict[str, Any] = {
    "search": {"trials", "workers"},
    "confirm": True,
    "limits": {"hours"},
    "tracking": {"experiment", "uri"},
    "on_finish": True,
}


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
        nodes: Of that cluster, which are waited for.
        cache_limit_bytes: The most that the cache of decoded images may keep of a dataset; None for
            the default.
        search: False only confirms the fronts of the sweep that is in the directory.
    """

    directory: Path
    resume: bool = False
    data: Path | None = None
    weights: Path | None = None
    backend: Backend = "ray"
    address: str | None = None
    nodes: int = 1
    cache_limit_bytes: int | None = None
    search: bool = True


def launch(spec: SweepSpec, how: Launch, console: Console) -> bool:
    """Runs a sweep to its end, or until Ctrl-C or `tinytl stop`; confirms its fronts if asked to.

    Nothing is created before the datasets and weights are found to be usable.

    Returns:
        Whether the sweep is finished; otherwise `--resume` goes on.

    Raises:
        TinyTLError: If something is missing or wrong, or the record cannot be written.
    """
    site, inputs = _prepare(spec, how, console)
    record = _open(spec, how)
    ended: Ended = "failed"
    try:
        note_environment(how.directory, environment_of(how.directory, site, inputs))
        sweep = Sweep(spec, record, site)
        retention = Retention(record, spec.objectives)
        retention.update()  # what an earlier process had no time to delete
        sweep.subscribe(retention.update)
        finished = _run_tracked(sweep, how, console)
        _show_freed(retention, console)
        ended = "finished" if finished else "stopped"
    except KeyboardInterrupt:
        ended = "stopped"
        raise
    finally:
        record.close(ended)
        if spec.on_finish is not None:
            run_on_finish(spec.on_finish, how.directory, ended, console)
    return finished


def tracker_of(directory: Path, spec: SweepSpec) -> Tracker:
    """Returns what mirrors a sweep's directory into MLflow."""

    def configure(asked: Asked) -> Mapping[str, Any]:
        config = spec.finetune_config(asked.study, asked.params)
        return dict(flattened(config.model_dump(mode="json", exclude_none=True)))

    return Tracker(
        directory,
        sweep=sweep_id(directory),
        experiment=spec.tracking.experiment or spec.name,
        objectives=spec.objectives,
        limits=spec.limits.of_metrics(),
        uri=spec.tracking.uri,
        configure=configure,
    )


def _run_tracked(sweep: Sweep, how: Launch, console: Console) -> bool:
    """Runs the sweep and shows what came out; returns whether it is finished."""
    spec = sweep.spec
    tracker = tracker_of(how.directory, spec)
    progress = Progress(console, sweep)
    sweep.subscribe(tracker.notify)
    sweep.subscribe(progress.update)
    tracker.start()
    patience = _SECONDS_TO_UPLOAD
    try:
        with progress:
            finished = _run(sweep, how, console)
    except TinyTLError:
        patience = _SECONDS_TO_UPLOAD_AFTER_ERROR  # what stopped the sweep may stop uploads too
        raise
    finally:
        console.print("uploading what is left to MLflow", highlight=False)
        if not tracker.close(patience):
            console.print(f"not all could be uploaded: {tracker.problem}", style="yellow")
    _show_fronts(sweep, how, console)
    _show_failures(sweep, how, console)
    return finished


def _prepare(spec: SweepSpec, how: Launch, console: Console) -> tuple[Site, tuple[Input, ...]]:
    datasets, problems = prepare_inputs(spec, how.data, how.weights, console)
    problems += _warm_start_problems(spec)
    if problems:
        raise ConfigError(problems)
    if how.address is None:  # else each node builds a cache of its own
        for splits in datasets.values():
            cache_images(
                splits,
                resolution=max(spec.values("resolution")),
                crop_scales=spec.values("crop_scale"),
                limit_bytes=how.cache_limit_bytes,
                console=console,
            )
    site = Site(
        data=how.data,
        weights=how.weights,
        device="cuda" if torch.cuda.is_available() else "cpu",
        classes={name: len(splits.classes) for name, splits in datasets.items()},
        predict=partial(predicted_peak_bytes, weights=how.weights),
        cache_limit_bytes=how.cache_limit_bytes,
    )
    return site, inputs_of(spec, datasets, how.data, how.weights)


def _warm_start_problems(spec: SweepSpec) -> list[str]:
    if spec.search.warm_start is None:
        return []
    try:
        find_sweep(Path(spec.search.warm_start))
    except ConfigError as error:
        return [f"search.warm_start: {problem}" for problem in error.problems]
    return []


def _open(spec: SweepSpec, how: Launch) -> SweepRecord:
    if not how.resume:
        return SweepRecord.create(how.directory, spec.resolved_yaml())
    if (how.directory / SWEEP_FILE).exists():
        _refuse_another(spec, how)
    record = SweepRecord.resume(how.directory)
    write_atomically(how.directory / SWEEP_FILE, spec.resolved_yaml())
    return record


def _refuse_another(spec: SweepSpec, how: Launch) -> None:
    """Raises a ConfigError where the directory holds a sweep of other trials."""
    earlier = load_spec(str(how.directory / SWEEP_FILE), data=how.data)
    before, now = (each.model_dump(exclude=_FREE) for each in (earlier, spec))
    differing = [key for key in before if before[key] != now[key]]
    if differing:
        raise ConfigError(
            f"{how.directory} was started with another {', '.join(differing)}; resume it with what "
            "its sweep.yaml says, or start a new sweep with --out"
        )


def _run(sweep: Sweep, how: Launch, console: Console) -> bool:
    """Searches and then confirms, and returns whether nobody stopped it before its end."""
    try:
        if how.search:
            _run_backend(sweep, how)
        seeds = sweep.spec.confirm
        if seeds and not (how.search and sweep.unfinished):
            if sweep.ending:
                return False
            sweep.confirm(seeds)
            if sweep.unfinished:
                console.print(f"confirming the fronts with {seeds} seeds", highlight=False)
                _run_backend(sweep, how)
    except KeyboardInterrupt:
        return False
    return not sweep.stopping and not sweep.unfinished


def _run_backend(sweep: Sweep, how: Launch) -> None:
    if how.backend == "local":
        local.run(sweep)
    else:
        from orchestrator.backends import ray  # slow to import, and not needed by `local`

        ray.run(sweep, address=how.address, nodes=how.nodes)


def _show_fronts(sweep: Sweep, how: Launch, console: Console) -> None:
    snapshot = sweep.snapshot()
    objectives = sweep.spec.objectives
    for study, found in snapshot.points.items():
        if not found:
            continue
        title = f"{sweep.spec.name}: {study}"
        folder = how.directory / "fronts" / study
        write_pictures(folder, found, objectives, title)
        console.print(front_view(study, snapshot.fronts[study], objectives))
        console.print(f"picture: {folder / 'front.png'}", highlight=False, soft_wrap=True)


def _show_freed(retention: Retention, console: Console) -> None:
    if retention.trials:
        text = (
            f"freed {retention.freed_bytes / 1e6:.1f} MB: the checkpoints of {retention.trials} "
            "trials that have ended and are on no front"
        )
        console.print(text, highlight=False, soft_wrap=True)


def _show_failures(sweep: Sweep, how: Launch, console: Console) -> None:
    """Prints why trials failed, each reason once.

    Raises:
        TrainingError: If trials failed and none is complete.
    """
    snapshot = sweep.snapshot()
    show_failures(snapshot, how.directory, console)
    if snapshot.failures and not any(snapshot.points.values()):
        raise TrainingError(
            f"no trial is complete, and {len(snapshot.failures)} failed; mend what is said above "
            "and start a new sweep with --out"
        )
