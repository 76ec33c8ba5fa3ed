"""MLflow tracking: the event log of a sweep mirrored into a store, off the driver's path."""

import re
from collections.abc import Mapping
from pathlib import Path

from orchestrator.fronts.pareto import Objectives
from orchestrator.tracking.background import Worker
from orchestrator.tracking.mirror import Configure, Mirror, params_of
from orchestrator.tracking.store import (
    ARTIFACTS_FOLDER,
    MLFLOW_SETTINGS,
    SQLITE,
    STORE_FILE,
    Store,
    sqlite_file,
)

__all__ = ["ARTIFACTS_FOLDER", "MLFLOW_SETTINGS", "STORE_FILE", "Tracker", "sqlite_file"]


class Tracker:
    """Mirrors a sweep's directory into MLflow from a thread of its own.

    One parent run for each study, tagged `tinytl.sweep` and `tinytl.study`, with the front as
    artifacts, description and metrics; below it one child run for each trial, tagged
    `tinytl.trial`, `tinytl.state` and `tinytl.reason`, with all its settings as params. Complete
    trials are FINISHED, those stopped early KILLED, failed and infeasible ones FAILED, those that
    wait for `--resume` SCHEDULED. `pareto` is `front` or `dominated` for those that are complete.
    What a run depends on besides its params, and the command that runs it again, are tags and
    inputs; they come from the sweep's directory, where the process that ran it noted them.

    Nothing here raises into the sweep.

    Args:
        directory: The sweep's directory.
        sweep: An id that no other sweep in the store has.
        experiment: Name of the MLflow experiment.
        objectives: Metric names and modes.
        limits: The sweep's limits, for the hypervolume's reference.
        uri: An MLflow tracking URI; None keeps the store in the sweep's directory, where it can be
            moved and copied together with it. The artifacts of an sqlite store lie beside it.
        configure: Returns all settings of a trial by flat names, also those that are the same in
            all trials.

    Attributes:
        problem: What keeps the store behind at the moment, in one sentence, or None.
    """

    def __init__(
        self,
        directory: Path,
        *,
        sweep: str,
        experiment: str,
        objectives: Objectives,
        limits: Mapping[str, float],
        uri: str | None = None,
        configure: Configure = params_of,
    ) -> None:
        self.problem: str | None = None
        self._directory = directory.resolve()
        self._sweep = sweep
        self._experiment = experiment
        self._objectives = dict(objectives)
        self._limits = dict(limits)
        self._uri = _absolute(uri)
        self._configure = configure
        self._mirror: Mirror | None = None
        self._worker = Worker(self._update, self._on_error, name="mlflow-tracker")

    @property
    def store_uri(self) -> str:
        """The store's URI, without user and password."""
        return _public(self._uri) or f"{SQLITE}{self._directory / STORE_FILE}"

    def start(self) -> None:
        """Starts to follow the event log."""
        self._worker.start()

    def notify(self) -> None:
        """Says that events were appended; returns at once."""
        self._worker.wake()

    def close(self, timeout: float) -> bool:
        """Uploads what is left and ends the thread.

        Returns:
            Whether everything is in the store. If not, `problem` says why, and the rest follows
            when the sweep is resumed.
        """
        drained = self._worker.close(timeout)
        if not drained and self.problem is None:
            self.problem = self._sentence(f"it did not take everything within {timeout:g} s")
        return drained

    def _on_error(self, error: Exception | None) -> None:
        if error is None:
            self.problem = None
        else:
            # what the store took of it is unknown: connect anew, which looks for all runs
            self._mirror = None
            self.problem = self._sentence(f"{type(error).__name__}: {error}")

    def _sentence(self, why: str) -> str:
        return (
            f"the MLflow store {self.store_uri} is behind: {' '.join(why.split())[:300]}; nothing "
            f"is lost: {self._directory} has everything, and it is uploaded once the store works, "
            "with --resume, or by `tinytl sync`"
        )

    def _update(self, last: bool) -> float | None:
        self._mirror = self._mirror or self._connect()
        return self._mirror.update(last)

    def _connect(self) -> Mirror:
        return Mirror(
            self._directory,
            Store(self._uri or self.store_uri, self._experiment, self._sweep),
            sweep=self._sweep,
            store=_public(self._uri),
            objectives=self._objectives,
            limits=self._limits,
            configure=self._configure,
        )


def _absolute(uri: str | None) -> str | None:
    file = sqlite_file(uri) if uri else None
    return f"{SQLITE}{file.resolve()}" if file else uri


def _public(uri: str | None) -> str | None:
    return uri and re.sub(r"//[^/@]*@", "//", uri)
