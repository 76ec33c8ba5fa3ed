"""The audit after a fault finds whatever was lost, doubled or left behind."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.systems.faults.audit import audit
from benchmarks.systems.faults.scene import SWEEP
from benchmarks.systems.faults.session import Session
from orchestrator.record import Asked, Event, Reported, Told
from orchestrator.spec import load_spec

(EPOCHS,) = load_spec(str(SWEEP)).values("epochs")
PREDICTED = 1000


def course(trial: str, peak_bytes: int) -> list[Event]:
    """A trial from its start to its end."""
    metrics = {"val_accuracy": 0.5, "peak_bytes": float(peak_bytes)}
    reports = [Reported(trial, epoch, metrics) for epoch in range(1, EPOCHS + 1)]
    return [Asked(trial, "digits", 0, {}, PREDICTED), *reports, Told(trial, "complete", metrics)]


FIRST, SECOND = course("a", PREDICTED), course("b", PREDICTED + 1)
BEFORE = [*FIRST, *SECOND[:2]]  # the second was marked after its first epoch
RUNS = [("digits", "FINISHED"), ("a", "FINISHED"), ("b", "FINISHED")]
Damage = Callable[[list[Event], list[tuple[str, str]], Any], object]


def doubled(events: list[Event], index: int) -> None:
    events.append(events[index])


DAMAGES: list[tuple[str, str, Damage]] = [
    ("a finished trial is gone", "lost", lambda e, r, s: e.__setitem__(
        len(FIRST) - 1, replace(FIRST[-1], metrics={"peak_bytes": 1.0, "val_accuracy": 0.1}))),
    ("an epoch was not reported", "lost", lambda e, r, s: e.remove(SECOND[3])),
    ("an epoch was reported twice", "duplicated", lambda e, r, s: doubled(e, 1)),
    ("a trial was told twice", "duplicated", lambda e, r, s: doubled(e, -1)),
    ("a run is there twice", "duplicated", lambda e, r, s: r.append(("a", "FINISHED"))),
    ("a run never ended", "zombies", lambda e, r, s: r.__setitem__(1, ("a", "RUNNING"))),
    ("a run is not there", "zombies", lambda e, r, s: r.pop()),
    ("a trial never ended", "zombies", lambda e, r, s: e.pop()),
    ("a process is left", "zombies", lambda e, r, s: setattr(s, "left", 1)),
    ("a trial started anew", "restarted", lambda e, r, s: e.__setitem__(
        -1, replace(SECOND[-1], metrics={"peak_bytes": float(PREDICTED)}))),
    ("a checkpoint was gone", "restarted", lambda e, r, s: s.bare.add("b")),
    ("a trial failed", "failed", lambda e, r, s: e.__setitem__(
        -1, replace(SECOND[-1], state="failed"))),
]  # fmt: skip


def outcome(damage: Damage, folder: Path) -> Any:
    events, runs = [*FIRST, *SECOND], list(RUNS)
    scene = SimpleNamespace(
        events=lambda: events, store=folder / "store", left=0, marked={"b"}, bare=set()
    )
    damage(events, runs, scene)
    with closing(sqlite3.connect(scene.store)) as database:
        database.execute("create table runs (name text, status text)")
        database.executemany("insert into runs values (?, ?)", runs)
        database.commit()
    return audit(scene, BEFORE)


def test_nothing_is_found_where_nothing_happened(tmp_path: Path) -> None:
    found = outcome(lambda *_: None, tmp_path)
    assert found.is_clean
    assert (found.finished, found.running) == (1, 1)


@pytest.mark.parametrize(
    ("column", "damage"), [d[1:] for d in DAMAGES], ids=[d[0] for d in DAMAGES]
)
def test_each_damage_is_found_in_its_column(column: str, damage: Damage, tmp_path: Path) -> None:
    found = outcome(damage, tmp_path)
    assert not found.is_clean
    assert getattr(found, column) == 1


def test_a_session_is_killed_with_all_that_it_started() -> None:
    with Session(["sh", "-c", "sleep 60 & sleep 60 & echo started; wait"], {}) as session:
        while session.said() != "started":
            assert session.running()
        found = session.processes()
        assert len(found) == 3
        assert session.pid in found
    assert session.processes() == []
