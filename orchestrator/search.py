"""One Optuna study per dataset behind ask and tell.

Optuna sees every parameter in every trial, also where the trial does not have it (a width for a
method without modules): its samplers combine and model only what all trials have in common, and
would otherwise draw the widths at random for ever. What a trial does not have is left out of the
parameters that come out of `ask`.
"""

import itertools
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import optuna
import torch
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import TrialState

from orchestrator.record import State
from orchestrator.spec.settings import Mode, SearchSettings
from orchestrator.spec.space import Domain, Range, SearchSpace

optuna.logging.set_verbosity(optuna.logging.ERROR)

_DIRECTIONS: dict[Mode, StudyDirection] = {
    "max": StudyDirection.MAXIMIZE,
    "min": StudyDirection.MINIMIZE,
}

# a space of at most so many trials is listed to find one that was not asked for yet
LISTED = 100_000


@dataclass(frozen=True)
class Sampler:
    """A way to suggest parameters.

    Attributes:
        make: Builds it from a seed and the number of trials of the whole search.
        attempts: How often it is asked before a suggestion that repeats an earlier one is replaced
            by one of the study's own; 0 where the study walks through the grid.
        learns_from_repeats: Whether telling it the outcome of a repeated suggestion once more
            moves it on. A genetic sampler's population would fill with copies.
        counts_generations: Whether it notes a trial's generation while it suggests parameters, and
            so must also be asked where they are given.
    """

    make: Callable[[int, int], BaseSampler]
    attempts: int = 10
    learns_from_repeats: bool = False
    counts_generations: bool = False


def _nsga2(seed: int, trials: int) -> BaseSampler:
    # small enough for eight generations: Optuna's 50 would only draw at random in a short search
    return NSGAIISampler(population_size=min(max(trials // 4, 12), 50), seed=seed)


def _tpe(seed: int, trials: int) -> BaseSampler:
    startup = min(max(trials // 4, 10), 50)
    return TPESampler(n_startup_trials=startup, multivariate=True, seed=seed)


def _gp(seed: int, trials: int) -> BaseSampler:
    return GPSampler(n_startup_trials=10, seed=seed)


def _random(seed: int, trials: int) -> BaseSampler:
    return RandomSampler(seed=seed)


SAMPLERS: dict[str, Sampler] = {
    "nsga2": Sampler(_nsga2, counts_generations=True),
    "tpe": Sampler(_tpe, learns_from_repeats=True),
    "gp": Sampler(_gp, attempts=3, learns_from_repeats=True),
    "random": Sampler(_random),
    "grid": Sampler(_random, attempts=0),
}


@dataclass(frozen=True)
class _Outcome:
    """What Optuna is told of a trial."""

    state: TrialState
    values: list[float] | None
    violation: float


class Study:
    """The search on one dataset.

    The same settings and the same order of calls give the same suggestions.

    Args:
        name: The study's name, the dataset's.
        space: What a trial's parameters may be.
        objectives: Metrics, and whether more or less of each is better.
        search: Sampler, seed and number of trials.
    """

    def __init__(
        self,
        name: str,
        space: SearchSpace,
        objectives: Mapping[str, Mode],
        search: SearchSettings,
    ) -> None:
        self.name = name
        self.space = space
        self.objectives = dict(objectives)
        self._settings = search
        self._kind = SAMPLERS[search.sampler]
        self._distributions = {p.name: _distribution(p.domain) for p in space.searched}
        self._trials: dict[int, optuna.Trial] = {}
        self._numbers: dict[str, int] = {}
        self._outcomes: dict[int, _Outcome] = {}
        self._study = optuna.create_study(
            directions=[_DIRECTIONS[mode] for mode in objectives.values()],
            sampler=self._make_sampler(),
        )
        self._replayed = False
        self._candidates = self._walk_all()

    def ask(self) -> tuple[int, dict[str, Any]] | None:
        """Returns the number and the flat parameters of a new trial, which no earlier one had.

        Trials are counted from 0. None means that every possible trial was asked for.
        """
        if self._replayed:  # the old seed would draw once more what the replayed trials had
            self._study.sampler = self._make_sampler()
            self._replayed = False
        for _ in range(self._kind.attempts):
            with _one_thread():
                trial = self._study.ask(self._distributions)
            params = self._params(trial)
            number = self._numbers.get(_key(params))
            if number is None:
                return self._register(trial, params), params
            self._repeat(trial, number)
        for params in self._candidates:
            if _key(params) not in self._numbers:
                return self._register(self._given(params), params), params
        return None

    def replay_ask(self, number: int, params: Mapping[str, Any]) -> None:
        """Registers an earlier suggestion as it was, to resume a search.

        Raises:
            ValueError: If the number is not the next one.
        """
        if number != len(self._trials):
            raise ValueError(f"trial {len(self._trials)} must be replayed next, but got {number}")
        self._register(self._given(params), params)
        self._replayed = True

    def tell(
        self, number: int, state: State, values: Mapping[str, float], *, violation: float = 0.0
    ) -> None:
        """Tells how a trial ended.

        Args:
            number: The trial's number.
            state: `stopped` is never taken as complete; `infeasible` and `failed` get the worst
                values and break a constraint.
            values: Metrics, as far as the trial got; all objectives where it is complete.
            violation: By how much the trial breaks the limits, as a share of them; 0 where nobody
                knows, which counts as 1.

        Raises:
            ValueError: If no such trial is running, or a complete one lacks a finite objective.
        """
        if number not in self._trials or number in self._outcomes:
            raise ValueError(f"no trial {number} is running in study {self.name}")
        outcome = self._outcome(state, values, violation)
        self._tell(self._trials[number], outcome)
        self._outcomes[number] = outcome

    def _outcome(self, state: State, values: Mapping[str, float], violation: float) -> _Outcome:
        if state == "stopped":
            return _Outcome(TrialState.PRUNED, None, 0.0)
        if state == "complete":
            missing = [m for m in self.objectives if not math.isfinite(values.get(m, math.nan))]
            if missing:
                raise ValueError(
                    f"a complete trial needs a finite value of {', '.join(missing)}, but got "
                    f"{dict(values)!r}"
                )
            told = [float(values[metric]) for metric in self.objectives]
            return _Outcome(TrialState.COMPLETE, told, 0.0)
        penalty = [self._penalty(metric, values) for metric in self.objectives]
        if not all(math.isfinite(value) for value in penalty):
            return _Outcome(TrialState.FAIL, None, 0.0)  # no scale yet to say how bad it is
        broken = violation if math.isfinite(violation) and violation > 0 else 1.0
        return _Outcome(TrialState.COMPLETE, penalty, broken)

    def _penalty(self, metric: str, values: Mapping[str, float]) -> float:
        """Returns 0 for what is maximized; else the known value or the worst one so far."""
        if self.objectives[metric] == "max":
            return 0.0
        value = float(values.get(metric, math.nan))
        if math.isfinite(value):
            return value
        index = list(self.objectives).index(metric)
        seen = [outcome.values[index] for outcome in self._outcomes.values() if outcome.values]
        return max(seen, default=math.nan)

    def _tell(self, trial: optuna.Trial, outcome: _Outcome) -> None:
        if outcome.state != TrialState.FAIL:
            trial.set_constraint("limits", outcome.violation)
        self._study.tell(trial, outcome.values, state=outcome.state)

    def _params(self, trial: optuna.Trial) -> dict[str, Any]:
        """Returns what an Optuna trial means: the flat parameters that the trial has."""
        return self.space.walk(lambda name, domain: _decoded(domain, trial.params[name]))

    def _repeat(self, trial: optuna.Trial, number: int) -> None:
        """Ends a suggestion that is the same as an earlier trial."""
        known = self._outcomes.get(number) if self._kind.learns_from_repeats else None
        self._tell(trial, known or _Outcome(TrialState.FAIL, None, 0.0))

    def _register(self, trial: optuna.Trial, params: Mapping[str, Any]) -> int:
        number = len(self._trials)
        self._trials[number] = trial
        self._numbers[_key(params)] = number
        return number

    def _given(self, params: Mapping[str, Any]) -> optuna.Trial:
        """Returns an Optuna trial with these parameters."""
        rng = random.Random(len(self._trials))  # noqa: S311  (for what the trial does not have)
        self._study.enqueue_trial(
            {
                p.name: _encoded(
                    p.domain, params[p.name] if p.name in params else p.domain.sample(rng)
                )
                for p in self.space.searched
            }
        )
        trial = self._study.ask(self._distributions)
        if self._kind.counts_generations:
            _ = trial.relative_params
        return trial

    def _make_sampler(self) -> BaseSampler:
        seed = random.Random(f"{self._settings.seed}/{len(self._trials)}").getrandbits(32)  # noqa: S311
        return self._kind.make(seed, self._settings.trials or 0)

    def _walk_all(self) -> Iterator[dict[str, Any]]:
        """Yields trials for where the sampler has none: the grid in order, or random ones."""
        if self._settings.sampler == "grid":
            yield from self.space.grid()
            return
        rng = random.Random(self._settings.seed)  # noqa: S311
        size = self.space.size()
        if size is None or size > LISTED:
            yield from (self.space.sample(rng) for _ in itertools.count())
        else:
            listed = list(self.space.grid())
            rng.shuffle(listed)
            yield from listed


@contextmanager
def _one_thread() -> Iterator[None]:
    """Leaves the other cores to the trials; the small tensors of a model gain nothing from them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _key(params: Mapping[str, Any]) -> str:
    return json.dumps(params, sort_keys=True)


def _ordered(domain: Domain) -> list[Any] | None:
    """Returns the numbers of a choice, or of a range with a step, from the smallest."""
    values = domain.values()
    if values is None or (isinstance(domain, Range) and (domain.whole or domain.log)):
        return None
    return sorted(values) if all(isinstance(value, int | float) for value in values) else None


def _distribution(domain: Domain) -> BaseDistribution:
    """Returns what Optuna draws from; for numbers to choose from the place of the number.

    So samplers know which choices are neighbours.
    """
    ordered = _ordered(domain)
    if ordered is not None:
        return IntDistribution(0, len(ordered) - 1)
    if not isinstance(domain, Range):
        return CategoricalDistribution(domain.values())
    if not domain.whole:
        return FloatDistribution(domain.low, domain.high, log=domain.log)
    low, high, step = int(domain.low), int(domain.high), int(domain.step or 1)
    return IntDistribution(low, high - (high - low) % step, log=domain.log, step=step)


def _encoded(domain: Domain, value: Any) -> Any:
    ordered = _ordered(domain)
    return value if ordered is None else ordered.index(value)


def _decoded(domain: Domain, value: Any) -> Any:
    ordered = _ordered(domain)
    return value if ordered is None else ordered[value]
