"""The benchmark of stored weights: a row for each way, the first of which is float32."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.systems import frozen_weights
from benchmarks.systems.frozen_weights import SETTINGS, compare, main
from tinytl.config import FinetuneConfig
from tinytl.nn.codes import STORAGES

SMALL: dict[str, Any] = SETTINGS | {
    "dataset": "digits",
    "backbone": "proxyless_tiny",
    "weights": "random",
    "resolution": 33,
    "epochs": 1,
    "train_images": 16,
    "eval_images": 10,
}


def test_every_way_is_compared_with_float32() -> None:
    results = compare(SMALL, [8, 3], data=None, weights=None)
    first, *others = results["rows"]
    assert first["frozen_weights"] is None
    assert (first["error"], first["accuracy_difference"], first["weights_ratio"]) == (0, 0, 1)
    ways = [(row["frozen_weights"]["storage"], row["frozen_weights"]["bits"]) for row in others]
    assert ways == [(storage, bits) for storage in STORAGES for bits in (8, 3)]
    for row in others:
        assert row["error"] > 0
        assert row["weights_ratio"] == row["weights_bytes"] / first["weights_bytes"] < 1
        # what the step uses goes down by what is resident, for the peak is in the activations
        saved = first["weights_bytes"] - row["weights_bytes"]
        assert first["peak_bytes"] - row["peak_bytes"] <= saved


def test_it_prints_a_table_and_writes_where_the_numbers_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(frozen_weights, "SETTINGS", SMALL)
    files = ["--json", str(tmp_path / "out.json"), "--png", str(tmp_path / "out.png")]
    monkeypatch.setattr(sys, "argv", ["", "--bits", "4", *files])
    assert main() == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("float32", "kmeans", "scale"))
    written = json.loads((tmp_path / "out.json").read_text())
    assert len(written["rows"]) == 3
    assert written["provenance"]["packages"]["torch"]
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_a_mistake_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["", "--data", "nowhere"])
    assert main() == 2
    assert "nowhere does not exist" in capsys.readouterr().err


def test_the_settings_are_a_configuration() -> None:
    assert FinetuneConfig.parse(SETTINGS).validation == 0
