"""A sweep is shown while it runs, and showing it takes no more than a tenth of the time."""

import io
import itertools
from types import SimpleNamespace

import pytest
from rich.console import Console

from orchestrator import progress
from orchestrator.record.history import History
from orchestrator.record.snapshot import snapshot
from tests.sweeps import spec


@pytest.mark.parametrize(
    ("is_terminal", "takes", "between"),
    [(False, 0.0, 10.0), (True, 0.0, 0.5), (True, 0.01, 0.51), (True, 2.0, 22.0)],
)
def test_how_often(
    is_terminal: bool, takes: float, between: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, shown = [1000.0], []

    def stand() -> object:
        shown.append(now[0])
        now[0] += takes
        return snapshot(spec(), History(), 0.0)

    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    console = Console(file=io.StringIO(), force_terminal=is_terminal)
    sweep = SimpleNamespace(snapshot=stand, spec=spec())
    with progress.Progress(console, sweep) as bar:
        while now[0] < 1060:
            now[0] += 0.01
            bar.update()
    gaps = [b - a for a, b in itertools.pairwise(shown[:-1])]  # the last is shown at the end
    assert gaps == pytest.approx([between] * len(gaps), abs=0.02)
    assert len(gaps) >= 2
