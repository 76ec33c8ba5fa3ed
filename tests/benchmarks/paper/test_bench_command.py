"""`tinytl bench`: lists, runs what is missing, reports; a mistake is one sentence."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.paper.commands import SCALES
from benchmarks.paper.experiments import EXPERIMENTS, memory
from benchmarks.paper.experiments.base import Place, Scale, StoppedError
from benchmarks.paper.results import Cell, Results
from orchestrator.cli import main
from tinytl.errors import ConfigError

Run = Callable[..., tuple[int, str, str]]
CELLS = [
    Cell(f"{group}-{cell}", group, {"cell": cell, "group": group})
    for group in ("one", "two")
    for cell in ("modeled", "plain")
]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs the command line; returns its exit code, and what it printed to stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit:
            main(["bench", *arguments, "--out", str(tmp_path)])
        printed = capsys.readouterr()
        return int(exit.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The cells that ran, of an experiment that takes no time."""
    names: list[str] = []

    def count(cell: Cell, place: Place) -> dict[str, int]:
        names.append(cell.name)
        return {"modeled_bytes": 1_500_000}

    quick = replace(memory.EXPERIMENT, run=count, cells=lambda claims, scale: list(CELLS))
    monkeypatch.setitem(EXPERIMENTS, memory.NAME, quick)
    return names


def test_only_what_is_missing_is_run(run: Run, ran: list[str], tmp_path: Path) -> None:
    code, out, _ = run("run", memory.NAME)
    assert (code, ran) == (0, [cell.name for cell in CELLS])
    assert "0 cells are done, 4 to run" in out
    assert "4/4  two-plain: 1.5 MB" in out
    kept = json.loads((tmp_path / memory.NAME / "two-plain.json").read_text())
    assert kept["numbers"] == {"modeled_bytes": 1_500_000}
    assert kept["provenance"]["packages"]
    ran.clear()
    Results(tmp_path / memory.NAME).path(CELLS[1]).unlink()
    assert "3 cells are done, 1 to run" in run("run", memory.NAME)[1]
    assert ran == [CELLS[1].name]


ONLY = [("one-plain", ["one-plain"]), ("two", ["two-modeled", "two-plain"])]


@pytest.mark.parametrize(("only", "names"), ONLY)
def test_a_cell_that_is_named_is_run_though_it_is_done(
    only: str, names: list[str], run: Run, ran: list[str]
) -> None:
    run("run", memory.NAME)
    ran.clear()
    assert run("run", memory.NAME, "--only", only)[0] == 0
    assert ran == names


def raising(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the cell one-plain raise the error."""
    quick = EXPERIMENTS[memory.NAME]

    def run(cell: Cell, place: Place) -> dict[str, object]:
        if cell.name == "one-plain":
            raise error
        return dict(quick.run(cell, place))

    monkeypatch.setitem(EXPERIMENTS, memory.NAME, replace(quick, run=run))


def test_a_cell_that_fails_does_not_keep_the_others(
    run: Run, ran: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    results = Results(tmp_path / memory.NAME)
    with monkeypatch.context() as patch:
        raising(ConfigError("memory_budget: must be at least 9 MB"), patch)
        code, out, _ = run("run", memory.NAME)
    assert code == 1
    assert "one-plain: could not be run: memory_budget: must be at least 9 MB" in out
    assert "1 of 4 cells could not be run" in out
    assert ran == ["one-modeled", "two-modeled", "two-plain"]
    assert results.problem(CELLS[1]) == "memory_budget: must be at least 9 MB"
    code, out, _ = run("run", memory.NAME)
    assert (code, results.problem(CELLS[1])) == (0, "")
    assert "3 cells are done, 1 to run" in out


def test_a_run_that_is_stopped_goes_on(
    run: Run, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        raising(StoppedError(), patch)
        code, out, _ = run("run", memory.NAME)
    assert (code, ran) == (130, ["one-modeled"])
    assert "the same command goes on" in out
    assert "1 cells are done, 3 to run" in run("run", memory.NAME)[1]


def test_the_scales_are_those_of_the_experiments() -> None:
    assert list(SCALES) == [scale.value for scale in Scale]


MISTAKES = [
    (["run", "paper-memroy"], ["unknown experiment 'paper-memroy'", "did you mean 'paper-memory'"]),
    (["run", memory.NAME, "--scale", "big"], ["--scale: unknown scale 'big'", "cpu, full, smoke"]),
    (["run", "none", "--scale", "big"], ["unknown experiment 'none'", "unknown scale 'big'"]),
    (
        ["run", memory.NAME, "--only", "on"],
        ["--only: must be a cell or a group", "one", "got 'on'"],
    ),
]


@pytest.mark.parametrize(("arguments", "sentences"), MISTAKES)
def test_a_mistake_is_said(
    arguments: Sequence[str], sentences: Sequence[str], run: Run, ran: list[str]
) -> None:
    code, _, error = run(*arguments)
    assert (code, ran) == (2, [])
    assert "Traceback" not in error
    for sentence in sentences:
        assert sentence in error


def test_ls_says_how_far_it_is_and_what_is_not_yet(run: Run, ran: list[str]) -> None:
    run("run", memory.NAME, "--only", "one")
    code, out, _ = run("ls")
    (line,) = (line for line in out.splitlines() if memory.NAME in line)
    assert [word for word in line.split("smoke")[1].split() if word.isdecimal()] == [
        "75", "2", "0", "2",
    ]  # fmt: skip
    assert code == 0
    assert "not yet, 9 claims: no maintained library has this network" in out


def test_report_writes_both_files(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("report")
    assert code == 0
    assert "203 claims: 188 not run, 15 not yet" in out
    for name in ("report.html", "report.md"):
        assert "nothing has been run yet" in (tmp_path / name).read_text()


def test_report_says_of_results_that_are_outdated(
    run: Run, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("run", memory.NAME, "--only", "one")
    assert "outdated" not in run("report")[1]
    monkeypatch.setattr("torch.get_num_threads", lambda: 99)
    assert "2 results are outdated and left out" in run("report")[1]
