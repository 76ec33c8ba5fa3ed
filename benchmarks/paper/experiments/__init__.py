"""The experiments: one file each, which says what is run and what it is held against."""

from benchmarks.paper.experiments import accuracy, memory, smoke
from benchmarks.paper.experiments.base import Experiment
from tinytl.errors import ConfigError, unknown_name

EXPERIMENTS: dict[str, Experiment] = {
    module.EXPERIMENT.name: module.EXPERIMENT for module in (memory, smoke, accuracy)
}


def find_experiment(name: str) -> Experiment:
    """Returns the experiment with this name.

    Raises:
        ConfigError: If there is none.
    """
    if name not in EXPERIMENTS:
        raise ConfigError(unknown_name("experiment", name, EXPERIMENTS))
    return EXPERIMENTS[name]


__all__ = ["EXPERIMENTS", "Experiment", "find_experiment"]
