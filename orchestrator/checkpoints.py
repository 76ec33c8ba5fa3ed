"""Whose checkpoint is meant: that of a sweep's trial, or of a single run of `tinytl train`."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from orchestrator.fronts.choice import train_command
from orchestrator.record.find import find_sweep
from orchestrator.record.saved import SavedSweep, read_sweep
from orchestrator.single import find_trial
from tinytl.errors import ConfigError, unknown_name
from tinytl.finetune import CHECKPOINT


@dataclass(frozen=True)
class Found:
    """A checkpoint that is there.

    Attributes:
        path: The checkpoint.
        name: For folders and models that are made of it.
        source: Says whose it is.
        sweep: The sweep; None where it is of a single run.
        trial: The sweep's trial.
    """

    path: Path
    name: str
    source: str
    sweep: SavedSweep | None = None
    trial: str = ""


def find_checkpoint(which: str, budget_bytes: int | None, study: str | None) -> Found:
    """Returns the checkpoint that is meant.

    Args:
        which: `DIR:TRIAL`; `TRIAL` of the newest sweep in runs/; `DIR`, a sweep's directory with a
            budget or that of a single run without.
        budget_bytes: The most that a training step may need.
        study: Whose front, where the sweep has several.

    Raises:
        ConfigError: If there is none.
    """
    single = Path(which) / CHECKPOINT
    if single.is_file():
        if budget_bytes is not None or study is not None:
            raise ConfigError(
                f"--budget and --study choose of a sweep's front, but {which} is a single run; "
                "leave them out"
            )
        name = single.resolve().parent.name
        return Found(single, name, f"the run {name}")
    sweep, trial = _find_trial(which, budget_bytes, study)
    if trial not in sweep.history.asked:
        known = unknown_name(f"trial of {sweep.directory}", trial, sweep.history.asked)
        raise ConfigError(f"WHICH: {known}")
    path = checkpoint_of(sweep.directory, trial)
    if not path.is_file():
        raise ConfigError(_gone(sweep, trial))
    source = f"the trial {trial} of the sweep {sweep.spec.name}"
    return Found(path, f"{sweep.spec.name}-{trial}", source, sweep, trial)


def checkpoint_of(directory: Path, trial: str) -> Path:
    """Returns where the checkpoint of a sweep's trial is, if it is kept."""
    return directory / "trials" / trial / CHECKPOINT


def _find_trial(which: str, budget_bytes: int | None, study: str | None) -> tuple[SavedSweep, str]:
    if budget_bytes is not None:
        return find_trial(which, budget_bytes, study)
    if study is not None:
        raise ConfigError("--study chooses of the fronts for --budget; add --budget, or leave it")
    if Path(which).is_dir() or ("/" in which and ":" not in which):
        raise ConfigError(
            f"WHICH: {which} holds no {CHECKPOINT}; give DIR:TRIAL of a sweep, its DIR and "
            "--budget for the best of its front, or the directory of a run of `tinytl train`"
        )
    if ":" in which:
        return find_trial(which, None, None)
    return read_sweep(find_sweep(None)), which


def _gone(sweep: SavedSweep, trial: str) -> str:
    told = sweep.history.told.get(trial)
    name = f"{sweep.spec.name}-{trial}"
    again = shlex.join([*train_command(sweep.directory, trial), "--out", f"runs/{name}"])
    if told is None:
        why = "has no checkpoint yet"
    elif told.state == "complete":
        why = "has no checkpoint any more: a sweep keeps those of its fronts' members"
    else:
        why = f"has no checkpoint: it is {told.state}, and a sweep keeps those of its fronts"
    return (
        f"{trial} of {sweep.directory} {why}; train it again with `{again}`, then export "
        f"runs/{name}"
    )
