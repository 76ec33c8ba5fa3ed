"""A small sweep file, to be read, overridden and broken."""

import pytest

from orchestrator.spec import load_spec
from tinytl.errors import ConfigError

SMALL = """
name: small
datasets: [digits]
objectives: {val_accuracy: max, peak_bytes: min}
params:
  backbone: proxyless_mobile
  method: [last, tinytl-lite_residual]
  resolution: [128, 224]
  batch_size: 8
  learning_rate: {low: 1e-4, high: 3e-3, log: true}
  lite_residual:
    width: {per_stage: [0, 1]}
    groups: [2, 4]
train: {epochs: 2, validation: 0.1}
search: {sampler: random, trials: 5, seed: 3}
"""


@pytest.fixture
def small():
    return SMALL


@pytest.fixture
def base(write):
    return write(SMALL)


@pytest.fixture
def write(tmp_path):
    def write(text, name="sweep.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


@pytest.fixture
def problems():
    """The problems of a sweep file that must have some."""

    def problems(path, *overrides, **options):
        with pytest.raises(ConfigError) as caught:
            load_spec(path, overrides, **options)
        return caught.value.problems

    return problems
