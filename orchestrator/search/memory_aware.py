"""A sampler of our own: a trial's memory is known before it runs, only accuracy must be learned.

Many candidates are drawn at random and around the front. A Gaussian process, fitted to what was
told, says how accurate each may be; the candidate that is expected to add the most hypervolume at
the memory it will need is suggested. What breaks the limit is not suggested at all.

A suggestion depends on the seed, on what was asked and on what was told, in that order, and on
nothing else: a search that is replayed goes on as if it had never stopped.
"""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from orchestrator.record import State
from orchestrator.search.features import Features
from orchestrator.search.gain import Front
from orchestrator.search.model import GaussianProcess
from orchestrator.spec.space import Domain, Range, SearchSpace

ACCURACY, MEMORY = "val_accuracy", "peak_bytes"
STARTUP = 10  # trials that end before the model is asked
CANDIDATES = 512  # for each suggestion; half of them around the front
COMPARED = 4  # of the most promising candidates, whose memory is then predicted
PREDICTIONS = 32  # at most, for one suggestion
PROBES = 32  # random trials whose memory is predicted, so that also what is too big is known
LEARNED = 400  # of the newest trials: what a process learns in a moment
_FIRST_FIT, _REFIT = 8, 1.25  # a kernel is fitted to 8 trials, and again to a quarter more

Params = Mapping[str, Any]


@dataclass(frozen=True)
class KnownMemory:
    """What is known of a trial's memory before it runs.

    Attributes:
        predict: Returns the `peak_bytes` that a trial with these parameters will measure, or None
            where it cannot be built.
        limit_bytes: A trial that needs more is infeasible; None where there is no limit.
    """

    predict: Callable[[Params], int | None]
    limit_bytes: int | None = None

    def allows(self, peak_bytes: float | None) -> bool:
        """Returns whether a trial of so many bytes may run."""
        return peak_bytes is not None and (
            self.limit_bytes is None or peak_bytes <= self.limit_bytes
        )


@dataclass
class _Seen:
    """A trial that was asked for, or that an earlier sweep ran."""

    params: Params
    predicted_bytes: int | None = None
    peak_bytes: float | None = None
    state: State | None = None
    accuracy: float = math.nan
    curve: dict[int, float] = field(default_factory=dict)

    @property
    def last_epoch(self) -> int:
        """The newest epoch that it reported; 0 before any."""
        return max(self.curve, default=0)

    def best(self, epoch: int) -> float:
        """Returns the best accuracy up to an epoch: that of a single one has more noise."""
        return max(accuracy for each, accuracy in self.curve.items() if each <= epoch)


class MemoryAware:
    """Suggests trials of one study for `val_accuracy` against `peak_bytes`.

    Args:
        space: What a trial's parameters may be.
        known: What is known of a trial's memory.
        seed: Seeds what is drawn.
    """

    def __init__(self, space: SearchSpace, known: KnownMemory, seed: int) -> None:
        import sklearn.gaussian_process  # noqa: F401  (seconds: now, not while trials wait)

        self._space = space
        self._known = known
        self._seed = seed
        self._features = Features(space)
        self._earlier: list[_Seen] = []
        self._asked: list[_Seen] = []
        self._learned: list[_Seen] = []  # in the order in which they were told
        self._kernel: tuple[int, Any] | None = None
        self._memory_model: tuple[int, GaussianProcess] | None = None

    def asked(self, params: Params) -> None:
        """Notes the next trial of the study."""
        predicted_bytes = self._known.predict(params)
        self._asked.append(_Seen(params, predicted_bytes, predicted_bytes))

    def reported(self, number: int, epoch: int, values: Mapping[str, float]) -> None:
        """Notes how far a trial is after an epoch."""
        if ACCURACY in values:
            self._asked[number].curve[epoch] = values[ACCURACY]

    def told(self, number: int, state: State, values: Mapping[str, float]) -> None:
        """Notes how a trial ended."""
        seen = self._asked[number]
        seen.state = state
        seen.accuracy = values.get(ACCURACY, math.nan)
        seen.peak_bytes = values.get(MEMORY, seen.peak_bytes)
        self._learned.append(seen)

    def add_earlier(self, params: Params, values: Mapping[str, float]) -> None:
        """Learns from a complete trial of an earlier sweep, which is not on this one's front."""
        peak_bytes, accuracy = values[MEMORY], values[ACCURACY]
        self._earlier.append(_Seen(params, None, peak_bytes, "complete", accuracy))

    def suggest(self, is_new: Callable[[Params], bool]) -> dict[str, Any] | None:
        """Returns the parameters of the next trial, or None where no new ones were drawn."""
        rng = random.Random(f"{self._seed}/{len(self._asked)}")  # noqa: S311
        if len(self._earlier) + len(self._learned) < STARTUP:
            probes = self._probes(len(self._asked) + CANDIDATES)
            new = [params for params in probes if is_new(params)]
            return self._first_allowed(new, 1)[0] if new else None
        front = self._front_members()
        candidates = self._draw(rng, front, is_new)
        taught = self._taught(len(self._learned))
        if not candidates:
            return None
        if len(taught) < 2:
            return self._first_allowed(candidates, 1)[0]
        model = self._fitted_accuracy(taught)
        rows = self._features.matrix(candidates)
        guessed = self._guessed(rows)
        steps = self._steps(front, model, guessed)
        promise = steps.gain(model.members(_inputs(rows, guessed)), guessed).mean(axis=0)
        order = np.argsort(-promise, kind="stable")
        best = self._first_allowed([candidates[index] for index in order], COMPARED)
        if len(best) == 1:
            return best[0]
        memory = np.array([self._known.predict(p) for p in best], dtype=np.float64)
        members = model.members(_inputs(self._features.matrix(best), memory))
        return best[int(steps.gain(members, memory).mean(axis=0).argmax())]

    def _taught(self, count: int, kernel: Any = None) -> list[tuple[_Seen, float]]:
        """Returns what the first so many told trials, and earlier ones, say about accuracy.

        Those that were stopped say something only where there is a kernel to foresee it with.
        """
        learned = [seen for seen in self._learned[:count] if seen.peak_bytes is not None]
        foreseen = self._foreseen(learned, kernel) if kernel is not None else {}
        taught = [(seen, seen.accuracy) for seen in self._earlier if seen.peak_bytes is not None]
        for seen in learned:
            if seen.state == "complete":
                taught.append((seen, seen.accuracy))
            elif seen.state == "infeasible":  # nothing is gained there
                taught.append((seen, 0.0))
            elif id(seen) in foreseen:
                taught.append((seen, foreseen[id(seen)]))
        return taught[-LEARNED:]

    def _foreseen(self, learned: Sequence[_Seen], kernel: Any) -> dict[int, float]:
        """Returns what each stopped trial would have reached, by its identity.

        From its last epoch on it is taken to gain what complete trials like it did: a method that
        starts slowly gains more than others do.
        """
        complete = [seen for seen in learned if seen.state == "complete"]
        stopped = [seen for seen in learned if seen.state == "stopped" and seen.curve]
        found = {}
        for epoch in {seen.last_epoch for seen in stopped}:
            gains = [(s, s.accuracy - s.best(epoch)) for s in complete if epoch in s.curve]
            same = [seen for seen in stopped if seen.last_epoch == epoch]
            expected = np.zeros(len(same))
            if gains:
                expected = self._process(gains, kernel).mean(self._rows(same))
            for seen, gain in zip(same, np.maximum(expected, 0.0), strict=True):
                found[id(seen)] = min(1.0, seen.best(epoch) + float(gain))
        return found

    def _fitted_accuracy(self, fallback: Sequence[tuple[_Seen, float]]) -> GaussianProcess:
        """Returns a model of accuracy, with a kernel that was fitted to most of what it learned."""
        count = _fitted_to(len(self._learned))
        if self._kernel is None or self._kernel[0] != count:
            early = self._taught(count)
            self._kernel = (count, self._process(early if len(early) > 1 else fallback).kernel)
        kernel = self._kernel[1]
        return self._process(self._taught(len(self._learned), kernel), kernel)

    def _process(
        self, taught: Sequence[tuple[_Seen, float]], kernel: Any = None
    ) -> GaussianProcess:
        values = np.array([value for _, value in taught])
        return GaussianProcess(self._rows([seen for seen, _ in taught]), values, kernel)

    def _rows(self, trials: Sequence[_Seen]) -> np.ndarray:
        """Returns what the accuracy of trials is learned from."""
        memory = np.array([seen.peak_bytes for seen in trials], dtype=np.float64)
        return _inputs(self._features.matrix([seen.params for seen in trials]), memory)

    def _front_members(self) -> list[_Seen]:
        """Returns the complete trials that no other beats, from the smallest memory on."""
        members: list[_Seen] = []
        complete = [s for s in self._learned if s.state == "complete"]
        for seen in sorted(complete, key=lambda s: (s.peak_bytes, -s.accuracy)):
            if not members or seen.accuracy > members[-1].accuracy:
                members.append(seen)
        return members

    def _steps(
        self, members: Sequence[_Seen], model: GaussianProcess, guessed: np.ndarray
    ) -> Front:
        """Returns the front, with what running trials are expected to reach.

        Hypervolume is counted from the largest memory that a trial may have.
        """
        running = [s for s in self._asked if s.state is None and s.peak_bytes is not None]
        accuracy = [seen.accuracy for seen in members]
        memory = [float(seen.peak_bytes or 0) for seen in [*members, *running]]
        if running:
            accuracy += list(model.mean(self._rows(running)))
        possible = [*memory, *guessed]
        reference = max((size for size in possible if self._known.allows(size)), default=0.0)
        return Front(np.array(accuracy), np.array(memory), reference)

    def _draw(
        self, rng: random.Random, front: Sequence[_Seen], is_new: Callable[[Params], bool]
    ) -> list[dict[str, Any]]:
        """Returns different candidates: children of the front's members, and random ones."""
        drawn: dict[str, dict[str, Any]] = {}
        for index in range(CANDIDATES):
            if front and index % 2:
                params = self._child(rng, rng.choice(front).params, rng.choice(front).params)
            else:
                params = self._space.sample(rng)
            if is_new(params):
                drawn.setdefault(repr(params), params)
        return list(drawn.values())

    def _child(self, rng: random.Random, one: Params, other: Params) -> dict[str, Any]:
        """Returns a mixture of two trials in which about one parameter is drawn anew."""
        rate = 1.5 / max(len(one), 1)

        def pick(name: str, domain: Domain) -> Any:
            parent = one if rng.random() < 0.7 else other
            if name not in parent or rng.random() < rate:
                return domain.sample(rng)
            return _moved(rng, domain, parent[name])

        return self._space.walk(pick)

    def _first_allowed(
        self, candidates: Sequence[dict[str, Any]], count: int
    ) -> list[dict[str, Any]]:
        """Returns the first candidates within the limit; without any the one that needs least.

        Half of the predictions are for the first candidates, the others for some of all.
        """
        allowed, tried = [], []
        first = PREDICTIONS // 2
        others = candidates[first :: max(1, math.ceil(len(candidates) / first))]
        for params in [*candidates[:first], *others]:
            peak_bytes = self._known.predict(params)
            tried.append((math.inf if peak_bytes is None else peak_bytes, params))
            if self._known.allows(peak_bytes):
                allowed.append(params)
                if len(allowed) == count:
                    break
        return allowed or [min(tried, key=lambda pair: pair[0])[1]]

    def _probes(self, count: int) -> Iterator[dict[str, Any]]:
        """Yields the first of a sequence of random trials, which the seed decides."""
        rng = random.Random(self._seed)  # noqa: S311
        yield from (self._space.sample(rng) for _ in range(count))

    def _guessed(self, rows: np.ndarray) -> np.ndarray:
        """Returns about how much memory candidates need, without a prediction for each."""
        count = _fitted_to(len(self._asked))
        if self._memory_model is None or self._memory_model[0] != count:
            self._memory_model = (count, self._fitted_memory(count))
        return np.exp(self._memory_model[1].mean(rows))

    def _fitted_memory(self, count: int) -> GaussianProcess:
        """Returns a model of memory that knows so many of the trials, and twice as many probes."""
        probes = list(self._probes(min(PROBES, 2 * count)))
        sizes: list[tuple[Params, float | None]] = [
            (params, self._known.predict(params)) for params in probes
        ]
        sizes += [(seen.params, seen.peak_bytes) for seen in self._earlier[-LEARNED:]]
        sizes += [(seen.params, seen.predicted_bytes) for seen in self._asked[:count][-LEARNED:]]
        known = [(params, size) for params, size in sizes if size is not None]
        rows = self._features.matrix([params for params, _ in known])
        return GaussianProcess(rows, np.log([size for _, size in known]))


def _fitted_to(count: int) -> int:
    """Returns how many of so many trials a kernel was fitted to last, which is what takes time."""
    fitted, step = 0, float(_FIRST_FIT)
    while step <= count:
        fitted, step = int(step), step * _REFIT
    return fitted


def _inputs(rows: np.ndarray, memory: np.ndarray) -> np.ndarray:
    """Returns what accuracy is learned from: params, and the size of a trial in MB, as a power."""
    return np.column_stack([rows, np.log10(memory / 1e6)])


def _moved(rng: random.Random, domain: Domain, value: Any) -> Any:
    """Returns a value near by where the domain is continuous, and the value itself elsewhere."""
    if not isinstance(domain, Range) or domain.values() is not None:
        return value
    if domain.log:
        moved = value * math.exp(rng.gauss(0, 0.1 * math.log(domain.high / domain.low)))
    else:
        moved = value + rng.gauss(0, 0.1 * (domain.high - domain.low))
    return min(max(moved, domain.low), domain.high)
