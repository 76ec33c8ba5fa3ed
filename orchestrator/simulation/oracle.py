"""How a simulated trial goes: as the table says, or as models fitted to the table expect.

Accuracy is expected by an ensemble of trees: samplers that model it by a Gaussian process must not
be judged by a landscape that is one.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from orchestrator.search.features import Features
from orchestrator.search.model import GaussianProcess
from orchestrator.simulation.tables import Row
from orchestrator.spec import SweepSpec
from tinytl.errors import ConfigError

_FOLDS = 5
_TREES = 100
_FEWEST = 2 * _FOLDS


@dataclass(frozen=True)
class Course:
    """How a trial goes if nobody stops it.

    Attributes:
        peak_bytes: What it measures.
        accuracy: `val_accuracy` after each epoch; fewer than the sweep's epochs where it fails.
        seconds: How long each epoch takes.
    """

    peak_bytes: int
    accuracy: Sequence[float]
    seconds: Sequence[float]


class Oracle:
    """Knows how each trial of a study would go.

    Args:
        spec: The sweep to simulate.
        study: Its study.
        rows: The table; what is not of this study, or outside the space, is left out.

    Attributes:
        rows: The rows that are used.
        complete: Those among them that ran all epochs, which the model of accuracy has learned.

    Raises:
        ConfigError: If too few rows remain.
    """

    def __init__(self, spec: SweepSpec, study: str, rows: Sequence[Row]) -> None:
        self.rows = [r for r in rows if r.study == study and spec.space.contains(r.params)]
        (self._epochs,) = spec.values("epochs")
        self.complete = [row for row in self.rows if len(row.accuracy) == self._epochs]
        if len(self.complete) < _FEWEST:
            raise ConfigError(
                f"--from: {_FEWEST} trials of {study} that lie in the file's search space and ran "
                f"{self._epochs} epochs are needed, but there are {len(self.complete)} of "
                f"{len(rows)}; give a file that describes the recorded sweep, or record more"
            )
        self._known = {_key(row.params): row for row in self.rows}
        self._features = Features(spec.space)
        self._courses: dict[str, Course] = {}
        self._peak_bytes: dict[str, int] = {}

    def course(self, params: Mapping[str, Any]) -> Course:
        """Returns how a trial goes: exactly where the table has it."""
        key = _key(params)
        if key not in self._courses:
            row = self._known.get(key)
            if row is not None and (row.state == "failed" or len(row.accuracy) == self._epochs):
                course = Course(self.peak_bytes(params), row.accuracy, row.seconds)
            else:
                course = Course(self.peak_bytes(params), *self._expected(params))
            self._courses[key] = course
        return self._courses[key]

    @cached_property
    def errors(self) -> dict[str, float]:
        """What the models err by on rows that they were not fitted to, in 5-fold cross-validation.

        `val_accuracy` is the root mean square of the last epoch's error in [0, 1], and beside it
        the standard deviation of what is to be predicted; bytes and seconds are medians of the
        error's share of the value.
        """
        last = self._accuracies[:, -1]
        error = _cross_validated(self._rows_of(self.complete), self._accuracies, _Trees)[:, -1]
        of_bytes = _cross_validated(*self._logs_of_bytes, GaussianProcess)
        of_seconds = _cross_validated(*self._logs_of_seconds, GaussianProcess)
        return {
            "val_accuracy": float(np.sqrt(np.mean(error**2))),
            "val_accuracy_deviation": float(last.std()),
            "peak_bytes": float(np.median(np.abs(np.expm1(of_bytes)))),
            "seconds": float(np.median(np.abs(np.expm1(of_seconds)))),
        }

    def describe(self) -> str:
        """Returns what it knows, and how well, in one sentence for people."""
        errors = self.errors
        return (
            f"{len(self.rows)} recorded trials in the search space, {len(self.complete)} with all "
            f"{self._epochs} epochs; others are expected with an error (5-fold cross-validation) "
            f"of {100 * errors['val_accuracy']:.1f} points of accuracy, whose standard deviation "
            f"is {100 * errors['val_accuracy_deviation']:.1f}, {errors['peak_bytes']:.1%} of "
            f"memory and {errors['seconds']:.0%} of time"
        )

    def peak_bytes(self, params: Mapping[str, Any]) -> int:
        """Returns what a trial measures: exactly where the table has it."""
        key = _key(params)
        if key not in self._peak_bytes:
            row = self._known.get(key)
            expected = row.peak_bytes if row else None
            if expected is None:
                expected = round(math.exp(self._bytes.mean(self._features.matrix([params]))[0]))
            self._peak_bytes[key] = expected
        return self._peak_bytes[key]

    def _expected(self, params: Mapping[str, Any]) -> tuple[Sequence[float], Sequence[float]]:
        """Returns accuracy and seconds of each epoch."""
        row = self._features.matrix([params])
        seconds = math.exp(self._pace.mean(row)[0])
        return [float(value) for value in self._accuracy.mean(row)[0]], [seconds] * self._epochs

    @cached_property
    def _accuracy(self) -> "_Trees":
        return _Trees(self._rows_of(self.complete), self._accuracies)

    @cached_property
    def _bytes(self) -> GaussianProcess:
        return GaussianProcess(*self._logs_of_bytes)

    @cached_property
    def _pace(self) -> GaussianProcess:
        return GaussianProcess(*self._logs_of_seconds)

    @property
    def _accuracies(self) -> np.ndarray:
        return np.array([row.accuracy for row in self.complete])

    @property
    def _logs_of_seconds(self) -> tuple[np.ndarray, np.ndarray]:
        means = [np.mean(row.seconds) for row in self.complete]
        return self._rows_of(self.complete), np.log(means)

    @property
    def _logs_of_bytes(self) -> tuple[np.ndarray, np.ndarray]:
        known = [row for row in self.rows if row.peak_bytes is not None]
        return self._rows_of(known), np.log([float(row.peak_bytes or 0) for row in known])

    def _rows_of(self, rows: Sequence[Row]) -> np.ndarray:
        return self._features.matrix([row.params for row in rows])


class _Trees:
    """An ensemble of trees; of each row it expects several values."""

    def __init__(self, rows: np.ndarray, values: np.ndarray) -> None:
        from sklearn.ensemble import ExtraTreesRegressor

        forest = ExtraTreesRegressor(_TREES, min_samples_leaf=2, random_state=0)
        self._trees = [tree.tree_ for tree in forest.fit(rows, values).estimators_]
        self._shape = values.shape[1:]

    def mean(self, rows: np.ndarray) -> np.ndarray:
        """Returns what is expected of each row."""
        inputs = rows.astype(np.float32)  # what trees compare
        means = np.mean([tree.predict(inputs) for tree in self._trees], axis=0)
        return means.reshape(len(rows), *self._shape)


def _cross_validated(
    rows: np.ndarray, values: np.ndarray, model: Callable[[np.ndarray, np.ndarray], Any]
) -> np.ndarray:
    """Returns the errors of models that were each fitted without the rows they are tried on."""
    order = np.random.default_rng(0).permutation(len(rows))
    errors = np.empty_like(values)
    for fold in range(_FOLDS):
        tried, others = order[fold::_FOLDS], np.delete(order, slice(fold, None, _FOLDS))
        errors[tried] = model(rows[others], values[others]).mean(rows[tried]) - values[tried]
    return errors


def _key(params: Mapping[str, Any]) -> str:
    return json.dumps(params, sort_keys=True)
