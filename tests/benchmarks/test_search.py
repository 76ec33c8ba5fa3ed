"""The benchmark of samplers: what is claimed, and whether it holds."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.systems.search import DEFAULT, LIMITS, TABLES, claims, record
from orchestrator.simulation.compare import Contender, Trace
from orchestrator.simulation.oracle import Oracle
from orchestrator.simulation.tables import read_table
from orchestrator.spec import load_spec


def contender(sampler: str, scheduler: str, rise: float, epochs: float) -> Contender:
    """Two seeds whose hypervolume rises to 10, the faster the larger `rise` is."""
    trials = np.arange(1, 101)
    volume = 10 * (1 - np.exp(-rise * trials))
    traces = [Trace(volume + seed / 100, 1.0 * trials, epochs * trials) for seed in (0, 1)]
    return Contender("digits", sampler, scheduler, traces)


@pytest.mark.parametrize(
    ("ours", "halved", "epochs", "holds"),
    [
        (0.5, 0.5, 3.0, [True, True, True, True]),
        (0.06, 0.5, 3.0, [False, True, True, True]),  # random: 0.05
        (0.01, 0.01, 3.0, [False, False, False, True]),
        (0.5, 0.01, 3.0, [True, True, True, False]),
        (0.5, 0.5, 5.0, [True, True, True, False]),
    ],
)
def test_claims(ours: float, halved: float, epochs: float, holds: list[bool]) -> None:
    plain = [
        contender(DEFAULT, "none", ours, 8.0),
        contender("tpe", "none", 0.055, 8.0),
        contender("random", "none", 0.05, 8.0),
    ]
    found = claims(plain, [contender(DEFAULT, "halving", halved, epochs)])
    assert [claim["holds"] for claim in found] == holds


@pytest.mark.parametrize("table", LIMITS)
def test_the_table_is_what_the_file_describes(table: str) -> None:
    spec = load_spec(str(TABLES / f"{table}.yaml"))
    rows = read_table(TABLES / f"{table}.jsonl")
    oracle = Oracle(spec, table, rows)
    assert len(oracle.rows) == len(rows) <= (spec.search.trials or 0)
    assert len(oracle.complete) > 0.9 * len(rows)


@pytest.mark.integration
def test_recording_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (TABLES / "digits.yaml").read_text()
    smaller = {
        "rendered_digits": "random",
        "epochs: 8": "epochs: 1",
        "train_images: 128": "train_images: 32",
        "trials: 1000": "trials: 2",
    }
    for old, new in smaller.items():
        assert old in text
        text = text.replace(old, new)
    monkeypatch.setattr("benchmarks.systems.search.TABLES", tmp_path)
    (tmp_path / "digits.yaml").write_text(text)
    assert record("digits", tmp_path / "run") == {"rows": 2}
    written = (tmp_path / "digits.jsonl").read_bytes()
    assert record("digits", tmp_path / "run") == {"rows": 2}
    assert (tmp_path / "digits.jsonl").read_bytes() == written
    assert len(read_table(tmp_path / "digits.jsonl")[0].accuracy) == 1
