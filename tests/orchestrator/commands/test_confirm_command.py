"""Members of a front are trained again with other seeds, and told to nobody but the front."""

import sqlite3
import statistics
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.fronts.pareto import Point, confirmed_front, front_table
from orchestrator.fronts.plots import plot_html, write_pictures
from orchestrator.inputs.site import Site
from orchestrator.record import Asked, SweepRecord, Told
from orchestrator.sweep import Sweep
from orchestrator.trial import TrialRequest
from tests.sweeps import events, run, spec, states
from tinytl.errors import ConfigError
from tinytl.finetune import EpochReport

OBJECTIVES = {"val_accuracy": "max", "peak_bytes": "min"}
SITE = Site(None, None, "cpu", {"digits": 10}, lambda *_: 1_000_000)


def sweep_in(directory: Path, **sections) -> Sweep:
    found = spec(**sections)
    if (directory / "sweep.yaml").exists():
        return Sweep(found, SweepRecord.resume(directory), SITE)
    return Sweep(found, SweepRecord.create(directory, found.resolved_yaml()), SITE)


def finish(sweep: Sweep, request: TrialRequest, accuracy: float, peak_bytes: int) -> None:
    metrics = {"val_accuracy": accuracy, "peak_bytes": peak_bytes}
    for epoch in (1, 2):
        sweep.report(request.trial, EpochReport(epoch, metrics))


def searched(directory: Path) -> Sweep:
    """A finished search: each of five trials is better and larger than the one before."""
    sweep = sweep_in(directory)
    number = 0
    while (request := sweep.ask()) is not None:
        number += 1
        finish(sweep, request, number / 10, number * 1_000_000)
    return sweep


def test_each_member_is_asked_for_once_with_each_fresh_seed(tmp_path: Path) -> None:
    sweep = searched(tmp_path / "run")
    assert sweep.unfinished == []
    sweep.confirm(1)
    first = list(iter(sweep.ask, None))
    assert len(first) == 5
    assert {request.config.seed for request in first} == {1}, "0 is the search's"
    finish(sweep, first[0], 0.05, 1_000_000)
    sweep.record.close()
    again = sweep_in(tmp_path / "run")
    again.confirm(2)
    asked = [request.trial for request in iter(again.ask, None)]
    assert len(asked) == len(set(asked)) == 4 + 5, "the finished one is not run again"
    events = again.record.events()
    confirming = [event for event in events if isinstance(event, Asked) and event.confirms]
    assert len(confirming) == 10
    for event in confirming:
        original = next(e for e in events if isinstance(e, Asked) and e.trial == event.confirms)
        assert event.params == original.params | {"seed": event.params["seed"]}
    again.record.close()


def test_the_search_learns_nothing_from_it(tmp_path: Path) -> None:
    """With more trials, the next suggestions are those of a sweep that never confirmed."""
    suggested = []
    for name in ("confirmed", "not"):
        sweep = searched(tmp_path / name)
        if name == "confirmed":
            sweep.confirm(2)
            for request in iter(sweep.ask, None):
                finish(sweep, request, 0.99, 1)
        assert len(sweep.snapshot().points["digits"]) == 5
        sweep.record.close()
        more = sweep_in(tmp_path / name, search={"trials": 8})
        suggested.append([request.config for request in iter(more.ask, None)])
        more.record.close()
    assert len(suggested[0]) == 3
    assert suggested[0] == suggested[1]


def test_a_scheduler_stops_no_confirming_trial(tmp_path: Path) -> None:
    halving = {"search": {"scheduler": "halving", "halving": {"share": 0.75}}}
    sweep = sweep_in(tmp_path / "run", **halving)
    for number, request in enumerate(iter(sweep.ask, None)):
        finish(sweep, request, 0.9 - number / 10, 1_000_000)
    assert sweep.snapshot().states["stopped"] >= 1
    sweep.confirm(3)
    for request in iter(sweep.ask, None):
        finish(sweep, request, 0.01, 2_000_000)
    sweep.record.close()
    again = sweep_in(tmp_path / "run", **halving)
    (member,) = again.snapshot().fronts["digits"]
    assert len(member.confirmations) == 3
    again.record.close()


@pytest.mark.parametrize(
    ("seeds", "rule"),
    [
        (-1, "greater than or equal to 0"),
        (101, "less than or equal to 100"),
        ("3", "valid integer"),
    ],
)
def test_a_number_of_seeds_is_checked(seeds: object, rule: str) -> None:
    with pytest.raises(ConfigError, match=f"confirm: input should be.*{rule}.*but got {seeds!r}"):
        spec(confirm=seeds)


def member(trial: str, accuracy: float, peak_bytes: int, *confirmations: float) -> Point:
    return Point(
        trial,
        {"method": "last"},
        {"val_accuracy": accuracy, "peak_bytes": peak_bytes},
        tuple({"val_accuracy": value, "peak_bytes": peak_bytes} for value in confirmations),
    )


BEST = [
    member("a", 0.6, 1_000_000, 0.50, 0.60, 0.58),
    member("b", 0.7, 2_000_000, 0.40, 0.50),  # its mean is below that of a
    member("c", 0.8, 3_000_000, 0.75),
    member("d", 0.9, 4_000_000),
]


def test_mean_and_spread_drive_members_off() -> None:
    assert [point.trial for point in confirmed_front(BEST, OBJECTIVES)] == ["a", "c"]
    assert confirmed_front(BEST[3:], OBJECTIVES) == []
    rows = front_table(BEST, OBJECTIVES)
    assert [row["confirmed"] for row in rows] == ["yes", "no, falls off", "yes", "not yet"]
    assert [row["seeds"] for row in rows] == ["3", "2", "1", "0"]
    values = [50.0, 60.0, 58.0]
    expected = f"{statistics.fmean(values):.1f} ± {statistics.stdev(values):.1f}"
    assert rows[0]["validation accuracy (%)"] == expected == "56.0 ± 5.3"
    assert [row["validation accuracy (%)"] for row in rows[2:]] == ["75.0", "90.0"]
    assert [row["as searched"] for row in rows] == ["60.0", "70.0", "80.0", "90.0"]
    assert rows[0]["measured training memory (MB)"] == "1.00", "no spread, no ±"


def test_pictures_have_bars(tmp_path: Path) -> None:
    page = plot_html(BEST, OBJECTIVES, "x")
    assert "2 on the front confirmed by other seeds" in page
    assert '"error_y":{"array":[5.29' in page
    assert '"error_x":{"array":[null,null,null,null]' in page, "memory differs by no seed"
    assert "with 3 other seeds: 56.0 \\u00b1 5.3" in page or "56.0 ± 5.3" in page
    write_pictures(tmp_path / "with", BEST, OBJECTIVES, "x")
    write_pictures(tmp_path / "without", [member("a", 0.56, 1_000_000)], OBJECTIVES, "x")
    assert (tmp_path / "with" / "front.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.integration
def test_a_sweep_confirms_its_front_and_more_seeds_run_what_is_missing(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    ended = tmp_path / "ended"
    hook = f"sh -c 'echo $TINYTL_STATE >> {ended}'"
    assert run(directory, "local", search={"trials": 3}, confirm=1, on_finish=hook)
    before = events(directory)
    members = {event.confirms for event in before if isinstance(event, Asked) and event.confirms}
    assert members and states(directory) == {"complete": 3 + len(members)}
    with pytest.raises(SystemExit) as exit:
        main(["confirm", str(directory), "--seeds", "2", "--backend", "local"])
    assert not exit.value.code
    after = events(directory)
    assert after[: len(before)] == before
    assert states(directory) == {"complete": 3 + 2 * len(members)}
    assert ended.read_text() == "finished\nfinished\n"
    told = {event.trial: event.metrics for event in after if isinstance(event, Told)}
    for trial in members:
        losses = [told[f"{trial}-seed-{seed}"]["train_loss"] for seed in (1, 2)]
        assert len({told[trial]["train_loss"], *losses}) == 3, "other seeds, other curves"
        assert {told[f"{trial}-seed-{seed}"]["peak_bytes"] for seed in (1, 2)} == {
            told[trial]["peak_bytes"]
        }
    with closing(sqlite3.connect(directory / "mlflow.db")) as store:
        found = store.execute("select value from tags where key = 'tinytl.confirms'").fetchall()
    assert sorted(value for (value,) in found) == sorted([*members, *members])
    assert "confirmed" in (directory / "fronts" / "digits" / "front.csv").read_text()


def test_nothing_is_confirmed_when_the_time_is_over(tmp_path: Path) -> None:
    assert not run(tmp_path / "run", "local", limits={"hours": 1e-9}, confirm=1)
    assert events(tmp_path / "run") == []


def test_an_unfinished_sweep_is_not_confirmed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = sweep_in(tmp_path / "run")
    sweep.ask()
    sweep.record.close()
    with pytest.raises(SystemExit) as exit:
        main(["confirm", str(tmp_path / "run")])
    assert exit.value.code == 2
    assert "is not finished: 1 trials have not ended" in capsys.readouterr().err
