"""The samplers by name."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    GPSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)

from orchestrator.search.genetic import NSGAIIISampler, NSGAIISampler


@dataclass(frozen=True)
class Sampler:
    """A way to suggest parameters.

    Attributes:
        make: Builds it from a seed and the number of trials of the whole search.
        attempts: How often it is asked before a suggestion that repeats an earlier one is replaced
            by one of the study's own; 0 where Optuna only keeps the books.
        learns_from_repeats: Whether telling it the outcome of a repeated suggestion once more
            moves it on. A genetic sampler's population would fill with copies.
        is_genetic: Whether it notes a trial's generation while it suggests parameters, and so must
            also be asked where they are given. A suggestion that repeats an earlier one is mutated
            once more: the longer a population lives, the more of its children are copies.
    """

    make: Callable[[int, int], BaseSampler]
    attempts: int = 10
    learns_from_repeats: bool = False
    is_genetic: bool = False


def _population(trials: int) -> int:
    # small enough for eight generations: Optuna's 50 would only draw at random in a short search
    return min(max(trials // 4, 12), 50)


def _nsga2(seed: int, trials: int) -> BaseSampler:
    return NSGAIISampler(population_size=_population(trials), seed=seed)


def _nsga3(seed: int, trials: int) -> BaseSampler:
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        return NSGAIIISampler(population_size=_population(trials), seed=seed)


def _tpe(seed: int, trials: int) -> BaseSampler:
    startup = min(max(trials // 4, 10), 50)
    return TPESampler(n_startup_trials=startup, multivariate=True, seed=seed)


def _gp(seed: int, trials: int) -> BaseSampler:
    return GPSampler(n_startup_trials=10, seed=seed)


def _qmc(seed: int, trials: int) -> BaseSampler:
    # what has no order, such as the method, is drawn at random
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        return QMCSampler(scramble=True, seed=seed, warn_independent_sampling=False)


def _random(seed: int, trials: int) -> BaseSampler:
    return RandomSampler(seed=seed)


SAMPLERS: dict[str, Sampler] = {
    "memory_aware": Sampler(_random, attempts=0),
    "nsga2": Sampler(_nsga2, is_genetic=True),
    "nsga3": Sampler(_nsga3, is_genetic=True),
    "tpe": Sampler(_tpe, learns_from_repeats=True),
    "gp": Sampler(_gp, attempts=3, learns_from_repeats=True),
    "qmc": Sampler(_qmc),
    "random": Sampler(_random),
    "grid": Sampler(_random, attempts=0),
}
