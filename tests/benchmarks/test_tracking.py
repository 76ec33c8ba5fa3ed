"""The benchmark of tracking measures what it says."""

import pytest

from benchmarks.systems import tracking


@pytest.mark.integration
def test_driver_and_uploads_are_measured_and_shown(monkeypatch, capsys) -> None:
    monkeypatch.setattr(tracking, "PEERS", {"MLflow's fluent API": "fluent"})
    results = tracking.measure(trials=3, pause=0.0)
    ours, peer = results["reports"]
    assert ours["reports"] == 3 * (tracking.EPOCHS + 2), "asked and told are reports too"
    assert peer["reports"] == 2 * tracking.EPOCHS
    assert 0 < ours["milliseconds_50"] <= ours["milliseconds_99"] <= ours["milliseconds_100"]
    assert all(row["runs_a_second"] > 0 for row in results["uploads"])
    assert results["holds"] == (ours["milliseconds_99"] <= 1)
    tracking.print_results(results)
    assert "at most 1 ms" in capsys.readouterr().out
    assert tracking.draw(results).startswith(b"\x89PNG")


@pytest.mark.parametrize(("count", "expected"), [(1, 0), (100, 98), (200, 197), (1000, 989)])
def test_the_99th_of_100(count, expected) -> None:
    row = tracking._row("x", [number / 1e3 for number in range(count)], is_ours=True)
    assert row["milliseconds_99"] == pytest.approx(expected)
