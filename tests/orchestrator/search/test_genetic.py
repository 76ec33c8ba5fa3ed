"""Genetic samplers that keep generations: the same suggestions as Optuna's, in less time."""

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from orchestrator.search import genetic

SPACE = {"x": FloatDistribution(0, 1), "n": IntDistribution(0, 9), "rate": FloatDistribution(1, 9)}


def suggestions(sampler, *, at_once, change=None, trials=120):
    """What is suggested where trials end in another order than they began; some fail."""
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    found, running = [], []
    for index in range(trials):
        if index == change:  # as when a sweep is resumed
            study.sampler = type(sampler)(population_size=12, seed=5)
        running.append(study.ask(SPACE))
        found.append(running[-1].params)
        if len(running) == at_once:
            trial = running.pop(index % at_once)
            values = trial.params
            told = [values["x"] - 0.1 * abs(values["n"] - 4), values["x"] * values["rate"]]
            if index % 7 == 3:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                trial.set_constraint("limit", values["rate"] - 8)
                study.tell(trial, told)
    return found


@pytest.mark.parametrize("name", ["NSGAIISampler", "NSGAIIISampler"])
@pytest.mark.parametrize(("at_once", "change"), [(1, None), (3, None), (3, 70)])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_suggestions_are_optunas(name: str, at_once: int, change: int | None) -> None:
    ours, theirs = (
        suggestions(
            getattr(module, name)(population_size=12, seed=3), at_once=at_once, change=change
        )
        for module in (genetic, optuna.samplers)
    )
    assert ours == theirs
