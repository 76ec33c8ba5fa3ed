"""`tinytl simulate`: a table, numbers and a picture; mistakes are sentences."""

import json
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.simulation.tables import Row, write_table
from orchestrator.spec import SweepSpec


@pytest.fixture
def arguments(spec: SweepSpec, rows: list[Row], tmp_path: Path) -> list[str]:
    (tmp_path / "known.yaml").write_text(spec.resolved_yaml())
    write_table(tmp_path / "table.jsonl", rows)
    return ["simulate", str(tmp_path / "known.yaml"), "--from", str(tmp_path / "table.jsonl"),
            "--out", str(tmp_path / "out"), "--seeds", "2", "--trials", "15"]  # fmt: skip


def run(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code


def test_compares(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    samplers = ["--sampler", "random,nsga2", "--scheduler", "none,halving", "--workers", "2"]
    assert run([*arguments, *samplers]) == 0
    out = capsys.readouterr().out
    for expected in ("80 recorded trials", "nsga2", "halving", "virtual time"):
        assert expected in out
    found = json.loads((tmp_path / "out" / "digits.json").read_text())
    assert len(found["contenders"]) == 4
    assert all(len(c["by_trials"]["mean"]) == 15 for c in found["contenders"])
    assert (tmp_path / "out" / "digits.png").read_bytes().startswith(b"\x89PNG")


MISTAKES = [
    (["--sampler", "radnom,nsga2,x"], ["--sampler: unknown name 'radnom'", "unknown name 'x'"]),
    (["--scheduler", "asha"], ["--scheduler: unknown name 'asha': choose one of"]),
    (["--from", "gone.jsonl"], ["must be the directory of a sweep or a table"]),
    (["params.resolution=[24]", "params.method=last"], ["are needed, but there are"]),
]


@pytest.mark.parametrize(("more", "messages"), MISTAKES)
def test_mistakes(more: list[str], messages: list[str], arguments: list[str],
                  capsys: pytest.CaptureFixture) -> None:  # fmt: skip
    assert run([*arguments, *more]) == 2
    error = capsys.readouterr().err
    for message in messages:
        assert message in error
