"""Conformance: every backend runs the same sweep to the same record."""

import io
import re
import signal
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from orchestrator.launch import Launch, launch
from orchestrator.record import Asked, Reported, Told
from orchestrator.spec import SweepSpec
from tests.sweeps import events, run, spec, start_driver, states, wait_for_reports
from tinytl.errors import ConfigError, TrainingError
from tinytl.finetune import CHECKPOINT

BACKENDS = [
    "local",
    pytest.param("ray", marks=[pytest.mark.cluster, pytest.mark.integration]),
]


# what happens to trials, in any way: local shows it, and the twin test that Ray does the same
FAILING = {
    # with this decay the weights grow ninefold in every step
    "params": {"method": "last", "lite_residual": None, "weight_decay": [0.0, 1.0]},
    "train": {"learning_rate": 10.0, "optimizer": "adamw", "epochs": 10, "train_images": 60},
    "search": {"sampler": "grid", "trials": None},
}
LIMITED = {
    # full at 32 px needs more, and last at 24 px less
    "params": {"lite_residual": {"width": 1, "kernel_size": 3}},
    "search": {"sampler": "grid", "trials": None},
    "limits": {"peak_bytes": 950_000},
}
HALVED = {
    "params": {"method": "tinytl-bias", "lite_residual": None,
               "learning_rate": {"low": 1e-5, "high": 1e-2, "log": True}},
    "train": {"epochs": 4},
    "search": {"scheduler": "halving", "trials": 8},
}  # fmt: skip
SWEEPS: dict[str, dict[str, Any]] = {
    "failing": FAILING,
    "limited": LIMITED,
    "halved": HALVED,
    "confirmed": {"search": {"trials": 3}, "confirm": 1},
}


def story(directory: Path) -> dict[str, list[dict[str, Any]]]:
    """What happened to each trial, but for what a clock says."""
    found: dict[str, list[dict[str, Any]]] = {}
    for event in events(directory):
        told = {"kind": event.kind, **asdict(event)}
        del told["time"]
        if "metrics" in told:
            told["metrics"] = {k: v for k, v in told["metrics"].items() if "seconds" not in k}
        found.setdefault(event.trial, []).append(told)
    return found


@pytest.mark.integration
@pytest.mark.cluster
@pytest.mark.parametrize("sections", SWEEPS.values(), ids=SWEEPS)
def test_the_local_twin_does_what_ray_does(sections: dict[str, Any], tmp_path: Path) -> None:
    """With one worker, as many decisions depend on the order in which trials report."""
    alone = {**sections, "search": {**sections["search"], "workers": 1}}
    for backend in ("local", "ray"):
        assert run(tmp_path / backend, backend, **alone)
    assert story(tmp_path / "local") == story(tmp_path / "ray")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_sweep_runs_to_its_end(backend: str, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    assert run(directory, backend)
    assert states(directory) == {"complete": 5}
    found = events(directory)
    asked = {event.trial: event for event in found if isinstance(event, Asked)}
    assert sorted(asked) == [f"digits-{number:04d}" for number in range(5)]
    for told in (event for event in found if isinstance(event, Told)):
        reports = [e for e in found if isinstance(e, Reported) and e.trial == told.trial]
        assert [report.epoch for report in reports] == [1, 2]
        assert "test_accuracy" not in reports[0].metrics
        assert {"val_accuracy", "test_accuracy"} <= told.metrics.keys()
        assert told.metrics["peak_bytes"] == asked[told.trial].predicted_bytes
    assert (directory / "fronts" / "digits" / "front.png").read_bytes().startswith(b"\x89PNG")


def test_what_breaks_the_limit_is_infeasible_and_not_run(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    assert run(directory, "local", **LIMITED)
    assert states(directory) == {"complete": 3, "infeasible": 5}
    for event in events(directory):
        if isinstance(event, Told) and event.state == "infeasible":
            assert "above limits.peak_bytes 0.95 MB" in event.reason
            assert not any(isinstance(e, Reported) and e.trial == event.trial
                           for e in events(directory))  # fmt: skip


def test_a_trial_that_fails_does_not_end_the_sweep(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    assert run(directory, "local", **FAILING)
    assert states(directory) == {"complete": 2, "failed": 2}
    for event in events(directory):
        if isinstance(event, Told) and event.state == "failed":
            assert "lower learning_rate" in event.reason


@pytest.mark.parametrize("backend", BACKENDS)
def test_where_all_trials_fail_the_reasons_are_told(backend: str, tmp_path: Path) -> None:
    params, log = {**FAILING["params"], "weight_decay": 1.0}, io.StringIO()
    with pytest.raises(TrainingError, match="no trial is complete, and 2 failed"):
        run(tmp_path / "run", backend, log=log, **{**FAILING, "params": params})
    expected = r"failed \(digits-000\d\): the loss became .* lower learning_rate"
    assert re.search(expected, log.getvalue())


def write_photos(folder: Path) -> None:
    for index in range(12):
        image = folder / f"class_{index % 2}" / f"{index}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (20 * index, 30, 40)).save(image)


@pytest.mark.parametrize("backend", BACKENDS)
def test_relative_paths_mean_the_same_in_every_process(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "photos")
    tiny = spec(search={"trials": 1}, train={"train_images": None})
    own = SweepSpec.parse({**tiny.model_dump(), "datasets": ["photos"]}, data=Path("photos"))
    how = Launch(Path("out/run"), data=Path("photos"), weights=Path("none"), backend=backend)
    assert launch(own, how, Console(file=io.StringIO()))
    assert states(tmp_path / "out" / "run") == {"complete": 1}
    assert (tmp_path / "out" / "run" / "trials" / "photos-0000" / CHECKPOINT).exists()


@pytest.mark.parametrize(("limit_bytes", "kept"), [(None, ["decoded-96", "sizes"]), (0, ["sizes"])])
def test_trials_of_all_resolutions_share_the_cache_within_its_limit(
    limit_bytes: int | None, kept: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYTL_CACHE", str(tmp_path / "cache"))
    write_photos(tmp_path / "photos")
    own = SweepSpec.parse(
        {**spec(search={"trials": 4}, train={"epochs": 1}).model_dump(), "datasets": ["photos"]},
        data=tmp_path / "photos",
    )
    how = Launch(
        tmp_path / "run", data=tmp_path / "photos", backend="local", cache_limit_bytes=limit_bytes
    )
    assert launch(own, how, Console(file=io.StringIO()))
    asked = [event for event in events(tmp_path / "run") if isinstance(event, Asked)]
    assert {event.params["resolution"] for event in asked} == {24, 32}
    # 32 px / sqrt(0.22), the smallest crop, is 68.2 px
    assert sorted(path.name for path in (tmp_path / "cache" / "images").glob("*/*")) == kept


def test_the_scheduler_stops_trials_that_are_never_complete(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    assert run(directory, "local", **HALVED)
    counted = states(directory)
    assert counted["complete"] >= 1
    assert counted["stopped"] >= 1
    assert set(counted) <= {"complete", "stopped"}
    for event in events(directory):
        if isinstance(event, Told):
            epochs = [e.epoch for e in events(directory)
                      if isinstance(e, Reported) and e.trial == event.trial]  # fmt: skip
            assert (max(epochs) == 4) == (event.state == "complete")


def test_the_same_seed_gives_the_same_sweep(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        run(tmp_path / name / "run", "local")
    first, second = (
        [(e.trial, e.params) for e in events(tmp_path / name / "run") if isinstance(e, Asked)]
        for name in ("a", "b")
    )
    assert first == second


def test_more_trials_on_resume(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    run(directory, "local", search={"trials": 2})
    before = events(directory)
    assert run(directory, "local", resume=True, search={"trials": 4})
    assert events(directory)[: len(before)] == before
    assert states(directory) == {"complete": 4}
    params = [str(e.params) for e in events(directory) if isinstance(e, Asked)]
    assert len(set(params)) == 4


def test_resuming_another_sweep_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    run(directory, "local", search={"trials": 1})
    with pytest.raises(ConfigError, match="started with another train"):
        run(directory, "local", resume=True, train={"epochs": 3})


@pytest.mark.integration
@pytest.mark.cluster
def test_ctrl_c_stops_cleanly(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    with start_driver(directory, "ray") as driver:
        wait_for_reports(directory, 3)
        driver.send_signal(signal.SIGINT)
        assert driver.wait(timeout=120) == 0
    assert states(directory)["failed"] == 0
    assert run(directory, "ray", resume=True, train={"epochs": 6, "train_images": 60})
    assert states(directory) == {"complete": 5}
