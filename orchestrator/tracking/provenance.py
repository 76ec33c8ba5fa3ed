"""What the runs of a sweep tell of it, so that each can be run again."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.fronts.pareto import Objectives
from orchestrator.record import SWEEP_FILE
from orchestrator.record.environment import Environment


def study_tags(
    directory: Path,
    environment: Environment | None,
    objectives: Objectives,
    limits: Mapping[str, float],
) -> dict[str, str]:
    """Returns the tags of a study's run: what is searched for, where, and how to see and resume it.

    Args:
        directory: Where the sweep is now, for one whose environment nobody noted.
        environment: That of the process that runs it, or did last.
        objectives: Metrics and modes.
        limits: Of metrics.
    """
    place = environment.directory if environment else str(directory)
    resume = ["tinytl", "sweep", f"{place}/{SWEEP_FILE}", "--out", place, "--resume"]
    return {
        "tinytl.objectives": json.dumps(dict(objectives)),
        "tinytl.limits": json.dumps(dict(limits)),
        "tinytl.directory": place,
        "tinytl.show": shlex.join(["tinytl", "ui", place]),
        "tinytl.resume": shlex.join([*resume, *_options(environment)]),
        **_source_tags(environment),
    }


def trial_tags(trial: str, directory: Path, environment: Environment | None) -> dict[str, str]:
    """Returns the tags of a trial's run: how to run it again, and what it ran on.

    Args:
        trial: The trial.
        directory: Where the sweep is now, for one whose environment nobody noted.
        environment: That of the process that ran it.
    """
    place = environment.directory if environment else str(directory)
    rerun = ["tinytl", "train", "--from", f"{place}:{trial}", *_options(environment)]
    tags = {"tinytl.rerun": shlex.join(rerun), **_source_tags(environment)}
    if environment is not None:
        tags |= {"tinytl.system": environment.system, "tinytl.device": environment.device}
        tags |= {f"tinytl.version.{name}": text for name, text in environment.versions.items()}
    return tags


def fixed_settings(params: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those of a trial's flat settings that its params do not say.

    A param may say as a whole what the settings say in parts: `lite_residual.width`.
    """
    parts = tuple(f"{name}." for name in params)
    return {
        name: value
        for name, value in settings.items()
        if name not in params and not name.startswith(parts)
    }


def _source_tags(environment: Environment | None) -> dict[str, str]:
    """The source; MLflow shows its own two in a column of its tables."""
    tags = {"mlflow.source.name": "tinytl", "mlflow.source.type": "LOCAL"}
    if environment is not None and environment.commit is not None:
        tags["mlflow.source.git.commit"] = environment.commit
        tags["tinytl.commit"] = environment.commit
        tags["tinytl.dirty"] = str(environment.dirty).lower()
    return tags


def _options(environment: Environment | None) -> list[str]:
    """What a command needs to find the same datasets and weights."""
    options = []
    if environment is not None and environment.data is not None:
        options += ["--data", environment.data]
    if environment is not None and environment.weights is not None:
        options += ["--weights", environment.weights]
    return options
