"""The search space: which parameters a trial has, and which values each may take."""

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tinytl.backbones import find_backbone
from tinytl.engine.quantize import leaves_frozen
from tinytl.methods import METHODS


@dataclass(frozen=True)
class Fixed:
    """One value, which is not searched."""

    value: Any

    def values(self) -> Sequence[Any]:
        """Returns all values of the domain, in order."""
        return (self.value,)

    def sample(self, rng: random.Random) -> Any:
        """Returns the value."""
        return self.value


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    choices: tuple[Any, ...]

    def values(self) -> Sequence[Any]:
        """Returns all values of the domain, in order."""
        return self.choices

    def sample(self, rng: random.Random) -> Any:
        """Returns a value, each as likely as the others."""
        return rng.choice(self.choices)


@dataclass(frozen=True)
class Range:
    """A number between two bounds, both included.

    It is a whole number where both bounds are.

    Attributes:
        low: The smallest value.
        high: The largest value.
        log: Whether the logarithm of the value is searched evenly.
        step: Distance of neighbours, counted from `low`; None means that a whole number takes
            every value and any other number is continuous.
    """

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are in the range."""
        return isinstance(self.low, int)

    def values(self) -> Sequence[Any] | None:
        """Returns all values of the domain, in order, or None where it is continuous."""
        if self.whole:
            return range(int(self.low), int(self.high) + 1, int(self.step or 1))
        if self.step is None:
            return (self.low,) if self.low == self.high else None
        # both rounded: 0.1 + 2 * 0.1 is the 0.3 that people mean
        count = math.floor((self.high - self.low) / self.step + 1e-9) + 1
        return tuple(round(self.low + index * self.step, 12) for index in range(count))

    def sample(self, rng: random.Random) -> Any:
        """Returns a value, evenly drawn."""
        if self.log:
            value = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
            value = min(max(value, self.low), self.high)
            return round(value) if self.whole else value
        values = self.values()
        return rng.uniform(self.low, self.high) if values is None else rng.choice(values)


Domain = Fixed | Choice | Range


def _holds(domain: Domain, value: Any) -> bool:
    values = domain.values()
    if values is None and isinstance(domain, Range):
        return isinstance(value, int | float) and domain.low <= value <= domain.high
    return value in (values or ())


Condition = Callable[[Mapping[str, Any]], bool]

# what conditions read, and so is asked for first
DECIDING = ("backbone", "method", "execution")


def always(params: Mapping[str, Any]) -> bool:
    """Returns True: the parameter belongs to every trial."""
    return True


def has_modules(params: Mapping[str, Any]) -> bool:
    """Returns whether the trial's method inserts lite residual modules."""
    return METHODS[params["method"]].uses_lite_residual


def has_sparse_update(params: Mapping[str, Any]) -> bool:
    """Returns whether the trial's method updates the last blocks in part."""
    return METHODS[params["method"]].uses_sparse_update


def has_frozen_weights(params: Mapping[str, Any]) -> bool:
    """Returns whether the trial's method leaves weights of the backbone frozen."""
    return leaves_frozen(METHODS[params["method"]])


def is_planned(params: Mapping[str, Any]) -> bool:
    """Returns whether the trial's steps are executed by a plan."""
    return params.get("execution") == "planned"


@dataclass(frozen=True)
class HasStage:
    """Holds where the trial has the section and the backbone has the stage."""

    stage: int
    has_section: Condition

    def __call__(self, params: Mapping[str, Any]) -> bool:
        """Returns whether it holds for a trial with these parameters."""
        return self.has_section(params) and self.stage < find_backbone(params["backbone"]).stages


@dataclass(frozen=True)
class HasMethod:
    """Holds where the trial has the method."""

    method: str

    def __call__(self, params: Mapping[str, Any]) -> bool:
        """Returns whether it holds for a trial with these parameters."""
        return bool(params["method"] == self.method)


@dataclass(frozen=True)
class Parameter:
    """A parameter of the trials; of several with the same name a trial has one at most.

    Attributes:
        name: Its flat name.
        domain: Its values.
        when: Whether a trial with the given backbone, method and execution has it.
    """

    name: str
    domain: Domain
    when: Condition = always


@dataclass(frozen=True)
class SearchSpace:
    """All parameters of a study's trials, in the order in which they are asked for.

    What conditions read (`DECIDING`) comes before the others.
    """

    parameters: tuple[Parameter, ...]

    @property
    def searched(self) -> tuple[Parameter, ...]:
        """The parameters that are not fixed."""
        return tuple(p for p in self.parameters if not isinstance(p.domain, Fixed))

    def domain(self, name: str) -> Domain | None:
        """Returns the values that a parameter may take, None where there is no such parameter."""
        return next((p.domain for p in self.parameters if p.name == name), None)

    def walk(self, pick: Callable[[str, Domain], Any]) -> dict[str, Any]:
        """Returns the flat parameters of one trial.

        Args:
            pick: Called in order with the name and domain of each parameter that is searched and
                that the trial has; returns the value.
        """
        params: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.when(params):
                name, domain = parameter.name, parameter.domain
                params[name] = domain.value if isinstance(domain, Fixed) else pick(name, domain)
        return params

    def sample(self, rng: random.Random) -> dict[str, Any]:
        """Returns the flat parameters of a random trial."""
        return self.walk(lambda name, domain: domain.sample(rng))

    def contains(self, params: Mapping[str, Any]) -> bool:
        """Returns whether a trial may have these flat parameters, and no others."""

        def pick(name: str, domain: Domain) -> Any:
            if not _holds(domain, params[name]):
                raise KeyError(name)
            return params[name]

        try:
            return self.walk(pick) == params
        except KeyError:  # it is missing, or has no value of its domain
            return False

    def grid(self) -> Iterator[dict[str, Any]]:
        """Yields the parameters of every possible trial once; the last parameter varies fastest.

        Raises:
            ValueError: If a range is continuous.
        """
        if self.size() is None:
            raise ValueError("a space with a continuous range has no grid")
        return self._branches({}, 0)

    def size(self) -> int | None:
        """Returns how many trials are possible, None where a range is continuous."""
        deciding = [p for p in self.parameters if p.name in DECIDING]
        others = [p for p in self.parameters if p.name not in DECIDING]
        size = 0
        for chosen in itertools.product(*(p.domain.values() or () for p in deciding)):
            decided = dict(zip((p.name for p in deciding), chosen, strict=True))
            counts = [p.domain.values() for p in others if p.when(decided)]
            if any(values is None for values in counts):
                return None
            size += math.prod(len(values or ()) for values in counts)
        return size

    def _branches(self, params: dict[str, Any], depth: int) -> Iterator[dict[str, Any]]:
        if depth == len(self.parameters):
            yield params
            return
        parameter = self.parameters[depth]
        if not parameter.when(params):
            yield from self._branches(params, depth + 1)
            return
        for value in parameter.domain.values() or ():
            yield from self._branches({**params, parameter.name: value}, depth + 1)
