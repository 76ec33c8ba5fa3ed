"""What Optuna draws from, and what its numbers mean."""

from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from orchestrator.spec.space import Domain, Range


def distribution(domain: Domain) -> BaseDistribution:
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


def encoded(domain: Domain, value: Any) -> Any:
    """Returns what Optuna has for a value of the domain."""
    ordered = _ordered(domain)
    return value if ordered is None else ordered.index(value)


def decoded(domain: Domain, value: Any) -> Any:
    """Returns the domain's value for what Optuna has."""
    ordered = _ordered(domain)
    return value if ordered is None else ordered[value]


def _ordered(domain: Domain) -> list[Any] | None:
    """Returns the numbers of a choice, or of a range with a step, from the smallest."""
    values = domain.values()
    if values is None or (isinstance(domain, Range) and (domain.whole or domain.log)):
        return None
    return sorted(values) if all(isinstance(value, int | float) for value in values) else None
