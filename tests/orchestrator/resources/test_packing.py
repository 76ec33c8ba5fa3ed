"""Trials whose memory runs out or whose process dies: tried again, then told as what they are."""

import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from orchestrator.backends import local
from orchestrator.inputs.site import Site
from orchestrator.record import Asked, SweepRecord, Told, read_events
from orchestrator.resources.admission import RanOutOfMemoryError
from orchestrator.resources.kernel import kernel_number
from orchestrator.sweep import Sweep
from orchestrator.trial import TrialRequest, run_trial
from tests.memory_faults import join, memory_group
from tests.sweeps import spec
from tinytl.data import load_splits
from tinytl.finetune import EpochReport

PREDICTED = 3_000_000
METRICS = {"val_accuracy": 0.5, "peak_bytes": PREDICTED}


def sweep_of(
    directory: Path, trials: int = 3, workers: int = 1, epochs: int = 1, **search: object
) -> Sweep:
    tiny = spec(search={"trials": trials, "workers": workers, **search}, train={"epochs": epochs})
    site = Site(None, None, "cpu", {"digits": 10}, lambda *what: PREDICTED)
    return Sweep(tiny, SweepRecord.create(directory, tiny.resolved_yaml()), site)


def told(directory: Path) -> dict[str, Told]:
    return {e.trial: e for e, _ in read_events(directory) if isinstance(e, Told)}


def name(number: int) -> str:
    return f"digits-{number:04d}"


def runs_out(request: TrialRequest, *, when: tuple[bool, ...], reached: int) -> Iterator:
    """Trial 1 runs out of memory, among others or alone or both."""
    if request.trial == name(1) and request.alone in when:
        raise RanOutOfMemoryError("no memory", reached)
    yield EpochReport(1, METRICS)


def test_a_trial_that_runs_out_of_memory_is_tried_again_alone(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path / "run")
    local.run(sweep, run_trial=partial(runs_out, when=(False,), reached=10**9))
    assert {t.state for t in told(tmp_path / "run").values()} == {"complete"}
    assert len(told(tmp_path / "run")) == 3


@pytest.mark.parametrize(("reached", "expected"), [(10**9, 10**9), (0, PREDICTED)])
def test_one_that_does_so_twice_is_infeasible(tmp_path: Path, reached: int, expected: int) -> None:
    sweep = sweep_of(tmp_path / "run")
    local.run(sweep, run_trial=partial(runs_out, when=(False, True), reached=reached))
    ended = told(tmp_path / "run")
    assert [ended[name(n)].state for n in range(3)] == ["complete", "infeasible", "complete"]
    assert ended[name(1)].metrics["peak_bytes"] == expected
    assert ended[name(1)].reason == "no memory"


def test_alone_is_alone(tmp_path: Path) -> None:
    """Nothing is handed out while one waits to be alone, or is."""
    sweep = sweep_of(tmp_path / "run", trials=4, workers=2)
    first, second = sweep.ask(), sweep.ask()
    assert first is not None and second is not None
    sweep.ran_out(first.trial, 0, "no memory")
    assert sweep.ask() is None and sweep.running  # the second one runs
    assert sweep.snapshot().running == 1
    sweep.report(second.trial, EpochReport(1, METRICS))
    again = sweep.ask()
    assert again is not None and (again.trial, again.alone) == (first.trial, True)
    assert sweep.ask() is None and sweep.running
    sweep.report(again.trial, EpochReport(1, METRICS))
    others = [sweep.ask(), sweep.ask(), sweep.ask()]
    assert [other and other.alone for other in others] == [False, False, None]


def test_a_trial_whose_process_dies_goes_on_once(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path / "run")
    for _ in range(2):
        sweep.interrupted(sweep.ask().trial)  # which does not count
        request = sweep.ask()
        assert request is not None and request.trial == name(0)
        sweep.lost(request.trial)
    assert told(tmp_path / "run")[name(0)].reason == "its process died twice in the same epoch"
    request = sweep.ask()
    assert request is not None and request.trial == name(1)


def test_a_trial_that_gets_on_may_lose_many_processes(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path / "run", epochs=5)
    for epoch in range(1, 5):
        request = sweep.ask()
        assert request is not None and request.trial == name(0)
        assert sweep.report(request.trial, EpochReport(epoch, METRICS))
        sweep.lost(request.trial)
    request = sweep.ask()
    assert request is not None and not sweep.report(request.trial, EpochReport(5, METRICS))
    sweep.lost(request.trial)  # which it does not need any more
    assert told(tmp_path / "run")[name(0)].state == "complete"
    assert sweep.ask().trial == name(1)


@pytest.mark.parametrize("sampler", ["random", "memory_aware"])
def test_suggestions_that_are_ready_are_taken_in_order(tmp_path: Path, sampler: str) -> None:
    sweep = sweep_of(tmp_path / "run", sampler=sampler, trials=5)
    for _ in range(4):
        sweep.prepare(2)
    assert not [e for e, _ in read_events(tmp_path / "run")], "an event of what nobody runs"
    requests = [sweep.ask() for _ in range(6)]
    assert [r and r.trial for r in requests] == [*(name(n) for n in range(5)), None]
    asked = [e for e, _ in read_events(tmp_path / "run") if isinstance(e, Asked)]
    assert [event.number for event in asked] == list(range(5))


def test_what_is_ready_and_not_taken_is_no_obstacle_to_resume(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path / "run")
    sweep.prepare(2)
    assert sweep.ask() is not None
    sweep.prepare(2)
    sweep.record.close()
    again = Sweep(sweep.spec, SweepRecord.resume(tmp_path / "run"), sweep.site)
    requests = [again.ask() for _ in range(4)]
    assert [r and r.trial for r in requests] == [name(0), name(1), name(2), None]


def faulty(request: TrialRequest, folder: Path, group: Path) -> Iterator[EpochReport]:
    """Trials of which each has another fault, the first time or always.

    They note their attempts in the folder: when, whether alone, with how many threads.
    """
    notes = folder / request.trial
    attempt = len(notes.read_text().splitlines()) if notes.exists() else 0
    began = time.time()
    number = int(request.trial[-1])
    with notes.open("a") as file:
        file.write(f"{began} {request.alone} {torch.get_num_threads()}\n")
    if number == 0 and attempt == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 1 or (number == 2 and attempt == 0):  # the kernel kills it
        join(group)
        bytearray(b"1") * 600_000_000
    if number == 3:
        yield from starved(request)
    time.sleep(0.3)
    yield EpochReport(1, METRICS)


def starved(request: TrialRequest) -> Iterator[EpochReport]:
    """Trains for real, but for the address space that it may have."""
    import resource

    load_splits("digits", None, validation=0.2)  # imports libraries, which could not be mapped
    size = kernel_number(Path("/proc/self/status"), "VmSize") * 1024
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + 20_000_000, before[1]))
    try:
        yield from run_trial(request)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.integration
@pytest.mark.cluster
def test_processes_that_really_run_out_of_memory(tmp_path: Path) -> None:
    from orchestrator.backends import ray

    params = {
        "method": "full", "resolution": [96, 128], "batch_size": [64, 72, 80],
        "lite_residual": None,
    }  # fmt: skip
    tiny = spec(search={"trials": 6}, train={"epochs": 1, "train_images": 200}, params=params)
    site = Site(None, None, "cpu", {"digits": 10}, lambda *what: PREDICTED)
    record = SweepRecord.create(tmp_path / "run", tiny.resolved_yaml())
    notes = tmp_path / "notes"
    notes.mkdir()
    with memory_group(300_000_000) as group:
        trial = partial(faulty, folder=notes, group=group)
        ray.run(Sweep(tiny, record, site), run_trial=trial)
    ended = told(tmp_path / "run")
    states = {number: ended[name(number)].state for number in range(6)}
    assert states == {
        0: "complete", 1: "infeasible", 2: "complete", 3: "infeasible", 4: "complete",
        5: "complete",
    }  # fmt: skip
    assert "killed for want of memory" in str(ended[name(1)].reason)
    assert ended[name(1)].metrics["peak_bytes"] == PREDICTED
    assert "it ran out of memory on cpu" in str(ended[name(3)].reason)
    assert ended[name(3)].metrics["peak_bytes"] > PREDICTED
    attempts = {
        number: [line.split()[1] for line in (notes / name(number)).read_text().splitlines()]
        for number in range(6)
    }
    assert attempts == {
        0: ["False"] * 2, 1: ["False", "True"], 2: ["False", "True"], 3: ["False", "True"],
        4: ["False"], 5: ["False"],
    }  # fmt: skip
    threads = {
        line.split()[2] for path in notes.iterdir() for line in path.read_text().splitlines()
    }
    assert threads == {"1"}, "trials fight for processors"


def hungry(request: TrialRequest, folder: Path) -> Iterator[EpochReport]:
    """Trial 1 takes ever more memory, slowly; the others end soon."""
    with (folder / request.trial).open("a") as file:
        file.write(f"{request.alone}\n")
    kept = []
    for _ in range(60 if request.trial == name(1) else 0):
        kept.append(torch.ones(25_000_000))
        time.sleep(0.1)
    time.sleep(1)
    yield EpochReport(1, METRICS)


@pytest.mark.integration
@pytest.mark.cluster
def test_rays_own_memory_monitor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It kills a process, for which Tune ends; the sweep goes on."""
    from orchestrator.backends import ray

    total, available = (
        kernel_number(Path("/proc/meminfo"), key) * 1024 for key in ("MemTotal", "MemAvailable")
    )
    threshold = (total - available + 3_000_000_000) / total
    monkeypatch.setenv("RAY_memory_usage_threshold", str(threshold))
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    notes = tmp_path / "notes"
    notes.mkdir()
    sweep = sweep_of(tmp_path / "run", trials=4, workers=2)
    ray.run(sweep, run_trial=partial(hungry, folder=notes))
    states = {number: told(tmp_path / "run")[name(number)].state for number in range(4)}
    assert states == {0: "complete", 1: "infeasible", 2: "complete", 3: "complete"}
    assert (notes / name(1)).read_text().split() == ["False", "True"]
