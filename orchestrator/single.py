"""One configuration outside of a sweep: from a file or a sweep's trial to a trained network."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from orchestrator.fronts.choice import best_within, fronts_of
from orchestrator.fronts.pareto import label, shown
from orchestrator.inputs.images import cache_images
from orchestrator.inputs.weights import prepare_weights
from orchestrator.record.find import find_sweep
from orchestrator.record.saved import SavedSweep, read_sweep
from orchestrator.resources.classes import predicted_peak_bytes
from orchestrator.spec.file import dump_yaml, parse_yaml, read_yaml
from tinytl.config import FinetuneConfig, flattened
from tinytl.data import load_splits
from tinytl.engine.threads import using_threads
from tinytl.errors import ConfigError, TinyTLError, unknown_name
from tinytl.finetune import CHECKPOINT, EpochReport, finetune
from tinytl.storage import write_atomically

CONFIG_FILE = "config.yaml"


@dataclass(frozen=True)
class Place:
    """Where and how a configuration is trained.

    Attributes:
        directory: For its checkpoint.
        resume: Go on from the checkpoint that is there.
        data: Root of the datasets.
        weights: Where to look for weights first.
        threads: Processors to use.
        cache_limit_bytes: The most that the cache of decoded images may keep of the dataset; None
            for the default.
    """

    directory: Path
    resume: bool
    data: Path | None
    weights: Path | None
    threads: int
    cache_limit_bytes: int | None = None


def config_of_file(path: Path, overrides: Sequence[str]) -> FinetuneConfig:
    """Returns the configuration of a YAML file: the names of `FinetuneConfig`, nested or flat.

    Args:
        path: The file.
        overrides: `key=value` texts with flat names, put in place of what the file says.

    Raises:
        ConfigError: If the file cannot be read, or a value breaks a rule.
    """
    raw = read_yaml(path)
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must be a mapping of a configuration's keys, but got {raw!r}")
    if "params" in raw:
        raise ConfigError(
            f"{path} is a sweep file; run it with `tinytl sweep {path}`, or give the values of one "
            "configuration: dataset, backbone, method, resolution, batch_size, ..."
        )
    return _overridden(raw, overrides)


def config_of_trial(sweep: SavedSweep, trial: str, overrides: Sequence[str]) -> FinetuneConfig:
    """Returns the configuration of a sweep's trial, with its seed.

    Raises:
        ConfigError: If there is no such trial, or an override breaks a rule.
    """
    asked = sweep.history.asked.get(trial)
    if asked is None:
        raise ConfigError(
            f"--from: {unknown_name(f'trial of {sweep.directory}', trial, sweep.history.asked)}"
        )
    config = sweep.spec.finetune_config(asked.study, asked.params)
    return _overridden(config.model_dump(exclude_none=True), overrides)


def find_trial(text: str, budget_bytes: int | None, study: str | None) -> tuple[SavedSweep, str]:
    """Returns the sweep and the trial that `DIR:TRIAL` names, or the best of a front.

    Args:
        text: `DIR:TRIAL`, or `DIR` with a budget.
        budget_bytes: The most that a training step may need.
        study: Whose front, where the sweep has several.

    Raises:
        ConfigError: If there is no such sweep, or not exactly one of trial and budget.
    """
    directory, colon, trial = text.rpartition(":")
    if not colon or Path(text).is_dir():
        directory, trial = text, ""
    if (not trial) == (budget_bytes is None):
        raise ConfigError(
            f"--from: give DIR:TRIAL, or DIR and --budget for the best of its front, but got {text}"
            + ("" if budget_bytes is None else " and a budget")
        )
    sweep = read_sweep(find_sweep(Path(directory)))
    if budget_bytes is None:
        return sweep, trial
    fronts = fronts_of(sweep.snapshot(), study)
    if len(fronts) > 1:
        raise ConfigError(f"--budget: choose one front with --study: {', '.join(fronts)}")
    (best,) = fronts.values()
    return sweep, best_within(best, sweep.spec.objectives, budget_bytes).trial


def train(config: FinetuneConfig, place: Place, console: Console) -> dict[str, float]:
    """Trains a configuration, shows each epoch, and returns the metrics of the last one.

    Nothing is created before the dataset and the weights are found to be usable.

    Raises:
        TinyTLError: As `finetune`; also where the directory has a checkpoint already.
    """
    path = place.directory / CHECKPOINT
    if path.exists() and not place.resume:
        raise ConfigError(
            f"{place.directory} already holds a run; continue it with --resume, or choose another "
            "directory with --out"
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    predicted_bytes = _prepare(config, place, device, console)
    write_atomically(
        place.directory / CONFIG_FILE, dump_yaml(config.model_dump(mode="json", exclude_none=True))
    )

    def show(report: EpochReport) -> None:
        text = f"epoch {report.epoch}/{config.epochs}: {_epoch_text(report.metrics)}"
        console.print(text, highlight=False, soft_wrap=True)

    with using_threads(place.threads):
        metrics = finetune(
            config,
            directory=place.directory,
            data=place.data,
            weights=place.weights,
            device=device,
            cache_limit_bytes=place.cache_limit_bytes,
            on_epoch=show,
        )
    for line in _results(metrics, predicted_bytes):
        console.print(line, highlight=False, soft_wrap=True)
    console.print(f"weights: {path} (what was trained)", highlight=False, soft_wrap=True)
    return metrics


def _prepare(config: FinetuneConfig, place: Place, device: str, console: Console) -> int:
    """Returns the predicted memory, once the dataset, its images and the weights are there.

    Raises:
        ConfigError: With all problems.
    """
    problems: list[str] = []
    splits = None
    try:
        splits = load_splits(config.dataset, place.data, validation=config.validation)
    except TinyTLError as error:
        problems.append(str(error))
    classes = len(splits.classes) if splits else 0
    network = (config.backbone, config.weights, config.norm)
    problems += prepare_weights([network], place.weights, [classes] if splits else [], console)
    if splits is None or problems:
        raise ConfigError(problems)
    cache_images(
        splits,
        resolution=config.resolution,
        crop_scales=[config.crop_scale],
        limit_bytes=place.cache_limit_bytes,
        console=console,
    )
    return predicted_peak_bytes(config, classes, device, place.threads, weights=place.weights)


def _overridden(values: Mapping[str, Any], overrides: Sequence[str]) -> FinetuneConfig:
    flat = dict(flattened(values))
    problems = []
    for text in overrides:
        name, equals, value = text.partition("=")
        if not equals or not name:
            problems.append(f"{text!r}: an override must be key=value, such as epochs=10")
            continue
        # what it replaces: itself, its parts, or the whole that it is a part of
        flat = {
            key: old
            for key, old in flat.items()
            if not f"{key}.".startswith(f"{name}.") and not f"{name}.".startswith(f"{key}.")
        }
        flat |= flattened({name: parse_yaml(value, repr(text))})
    if problems:
        raise ConfigError(problems)
    return FinetuneConfig.from_flat(flat)


def _epoch_text(metrics: Mapping[str, float]) -> str:
    texts = [f"loss {metrics['train_loss']:.3f}"]
    if "val_accuracy" in metrics:
        texts.append(f"validation accuracy {100 * metrics['val_accuracy']:.1f} %")
    return ", ".join([*texts, f"{metrics['epoch_seconds']:.1f} s"])


def _results(metrics: Mapping[str, float], predicted_bytes: int) -> Iterator[str]:
    for name in ("val_accuracy", "test_accuracy"):
        if name in metrics:
            yield f"{label(name)}: {shown(name, metrics[name]):.2f}"
    measured = f"{shown('peak_bytes', metrics['peak_bytes']):.2f}"
    predicted = f"{shown('peak_bytes', predicted_bytes):.2f}"
    yield f"{label('peak_bytes')}: {measured}, predicted {predicted}"
