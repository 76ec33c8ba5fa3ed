"""One study per dataset behind ask and tell.

Optuna sees every parameter in every trial, also where the trial does not have it (a width for a
method without modules): its samplers combine and model only what all trials have in common, and
would otherwise draw the widths at random for ever. What a trial does not have is left out of the
parameters that come out of `ask`.
"""

import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import optuna
import torch
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import TrialState

from orchestrator.record import State
from orchestrator.search.distributions import decoded, distribution, encoded
from orchestrator.search.memory_aware import KnownMemory, MemoryAware
from orchestrator.search.samplers import SAMPLERS
from orchestrator.search.warm_start import Earlier
from orchestrator.spec.settings import Mode, SearchSettings
from orchestrator.spec.space import SearchSpace

optuna.logging.set_verbosity(optuna.logging.ERROR)

_DIRECTIONS: dict[Mode, StudyDirection] = {
    "max": StudyDirection.MAXIMIZE,
    "min": StudyDirection.MINIMIZE,
}

_MUTATIONS = 100  # that are drawn for a child that is a copy of an earlier trial
# a space of at most so many trials is listed to find one that was not asked for yet
LISTED = 100_000


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
        memory: What is known of a trial's memory; sampler memory_aware asks for it.

    Raises:
        ValueError: If the sampler asks for `memory`, and there is none.
    """

    def __init__(
        self,
        name: str,
        space: SearchSpace,
        objectives: Mapping[str, Mode],
        search: SearchSettings,
        memory: KnownMemory | None = None,
    ) -> None:
        self.name = name
        self.space = space
        self.objectives = dict(objectives)
        self._settings = search
        self._kind = SAMPLERS[search.sampler]
        self._distributions = {p.name: distribution(p.domain) for p in space.searched}
        self._trials: dict[int, optuna.Trial] = {}
        self._numbers: dict[str, int] = {}
        self._outcomes: dict[int, _Outcome] = {}
        self._storage = optuna.storages.InMemoryStorage()
        self._study = optuna.create_study(
            storage=self._storage,
            directions=[_DIRECTIONS[mode] for mode in objectives.values()],
            sampler=self._make_sampler(),
        )
        self._replayed = False
        self._candidates = self._walk_all()
        self._memory_aware: MemoryAware | None = None
        if search.sampler == "memory_aware":
            if memory is None:
                raise ValueError("sampler memory_aware must know the memory of a trial")
            self._memory_aware = MemoryAware(space, memory, search.seed)

    def ask(self) -> tuple[int, dict[str, Any]] | None:
        """Returns the number and the flat parameters of a new trial, which no earlier one had.

        Trials are counted from 0. None means that every possible trial was asked for.
        """
        if self._replayed:  # the old seed would draw once more what the replayed trials had
            self._study.sampler = self._make_sampler()
            self._replayed = False
        if self._memory_aware is not None:
            suggested = self._memory_aware.suggest(self._is_new)
            if suggested is not None:
                return self._register(self._given(suggested), suggested), suggested
        for _ in range(self._kind.attempts):
            with _one_thread():
                trial = self._study.ask(self._distributions)
            params = self._params(trial.params)
            number = self._numbers.get(_key(params))
            if number is None:
                return self._register(trial, params), params
            if self._kind.is_genetic and (mutated := self._mutate(trial)):
                return self._register(trial, mutated), mutated
            self._repeat(trial, number)
        for params in self._candidates:
            if self._is_new(params):
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
            state: `stopped` is never learned from as complete; `infeasible` and `failed` get the
                worst values and break a constraint.
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
        if self._memory_aware is not None:
            self._memory_aware.told(number, state, values)

    def report(self, number: int, epoch: int, values: Mapping[str, float]) -> None:
        """Tells how far a running trial is after an epoch."""
        if self._memory_aware is not None:
            self._memory_aware.reported(number, epoch, values)

    def add_earlier(self, earlier: Earlier) -> None:
        """Learns from a trial of an earlier sweep, which is none of this study's.

        The study may suggest it again: its front is made of its own trials.
        """
        state: State = "infeasible" if earlier.violation > 0 else "complete"
        outcome = self._outcome(state, earlier.values, earlier.violation)
        self._tell(self._given(earlier.params), outcome)
        if self._memory_aware is not None and state == "complete":
            self._memory_aware.add_earlier(earlier.params, earlier.values)

    def _is_new(self, params: Mapping[str, Any]) -> bool:
        return _key(params) not in self._numbers

    def _outcome(self, state: State, values: Mapping[str, float], violation: float) -> _Outcome:
        if state == "stopped":
            return self._stopped(values)
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

    def _stopped(self, values: Mapping[str, float]) -> _Outcome:
        """Returns what is told of a stopped trial: that it was stopped, to a model no accuracy.

        To a genetic sampler it is told as far as it got, since Optuna leaves pruned trials out of a
        population, which would take twice as many trials to fill. There it comes to the same: when
        it was stopped, one that went on was at least as good in everything, and stays before it.
        """
        told = [float(values.get(metric, math.nan)) for metric in self.objectives]
        if self._kind.is_genetic and all(map(math.isfinite, told)):
            return _Outcome(TrialState.COMPLETE, told, 0.0)
        return _Outcome(TrialState.PRUNED, None, 0.0)

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

    def _params(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Returns what Optuna's values mean: the flat parameters that the trial has."""
        return self.space.walk(lambda name, domain: decoded(domain, values[name]))

    def _mutate(self, trial: optuna.Trial) -> dict[str, Any] | None:
        """Changes one parameter of a suggestion so that it is new; None where none was drawn."""
        rng = random.Random(f"{self._settings.seed}/{len(self._trials)}")  # noqa: S311
        values, searched = trial.params, [(p.name, p.domain) for p in self.space.searched]
        for _ in range(_MUTATIONS if searched else 0):
            name, domain = rng.choice(searched)
            value = encoded(domain, domain.sample(rng))
            params = self._params({**values, name: value})
            if self._is_new(params):
                drawn = self._distributions[name]
                internal = drawn.to_internal_repr(value)
                self._storage.set_trial_param(trial._trial_id, name, internal, drawn)
                return params
        return None

    def _repeat(self, trial: optuna.Trial, number: int) -> None:
        """Ends a suggestion that is the same as an earlier trial."""
        known = self._outcomes.get(number) if self._kind.learns_from_repeats else None
        self._tell(trial, known or _Outcome(TrialState.FAIL, None, 0.0))

    def _register(self, trial: optuna.Trial, params: Mapping[str, Any]) -> int:
        number = len(self._trials)
        self._trials[number] = trial
        self._numbers[_key(params)] = number
        if self._memory_aware is not None:
            self._memory_aware.asked(params)
        return number

    def _given(self, params: Mapping[str, Any]) -> optuna.Trial:
        """Returns an Optuna trial with these parameters."""
        rng = random.Random(len(self._trials))  # noqa: S311  (for what the trial does not have)
        self._study.enqueue_trial(
            {
                p.name: encoded(
                    p.domain, params[p.name] if p.name in params else p.domain.sample(rng)
                )
                for p in self.space.searched
            }
        )
        trial = self._study.ask(self._distributions)
        if self._kind.is_genetic:
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
