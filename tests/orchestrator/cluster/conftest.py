from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from orchestrator.cluster import ClusterSettings, Job, load_settings
from orchestrator.spec import load_spec


@pytest.fixture
def job() -> Job:
    """A sweep whose name is no label, with paths that a shell would take apart."""
    spec = load_spec("digits", ["name=Digits_of.2", "search.trials=3"])
    return Job(spec, "/shared/my runs/digits", "/shared/data $HOME", None)


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., ClusterSettings]:
    """Builds settings of what a user's file says."""

    def build(**given: object) -> ClusterSettings:
        file = tmp_path / "settings.yaml"
        file.write_text(yaml.safe_dump(given))
        return load_settings(file)

    return build


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """Makes of the shipped sweep `digits` two trials of a second each."""
    return [
        "params={backbone: proxyless_tiny, method: last, resolution: 24, batch_size: 4, "
        "learning_rate: [0.001, 0.002]}",
        "train={epochs: 2, weights: random, validation: 0.2, train_images: 24, eval_images: 20}",
        "search={sampler: grid}",
    ]
