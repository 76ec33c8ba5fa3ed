"""The source model of the built-in task is made once, and is what a trial starts from."""

import multiprocessing
from pathlib import Path

import pytest
import torch

from tinytl import builtin
from tinytl.config import FinetuneConfig
from tinytl.engine.build import build_network
from tinytl.errors import StorageError
from tinytl.finetune import EpochReport

pytestmark = pytest.mark.integration

TINY = builtin.SOURCE.model_copy(update={"train_images": 32, "eval_images": 16, "epochs": 1})


@pytest.fixture(autouse=True)
def tiny_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less to train on, and an empty cache."""
    monkeypatch.setattr(builtin, "SOURCE", TINY)
    monkeypatch.setenv("TINYTL_CACHE", str(tmp_path / "cache"))


def trial_of(method: str) -> FinetuneConfig:
    return FinetuneConfig(
        dataset="digits",
        backbone="proxyless_tiny",
        weights=builtin.WEIGHTS_NAME,
        method=method,
        resolution=32,
        batch_size=8,
    )


def test_it_is_built_once_and_loads() -> None:
    reports: list[EpochReport] = []
    path = builtin.build_weights(reports.append)
    assert path == builtin.weights_path()
    assert [report.epoch for report in reports] == [1]
    written = path.stat().st_mtime_ns
    assert builtin.build_weights(reports.append) == path
    assert path.stat().st_mtime_ns == written
    assert len(reports) == 1

    state = torch.load(path, weights_only=True)
    network = build_network(trial_of("tinytl-lite_residual+bias"), 10).network
    own = {name.replace(".main.main.", ".main."): v for name, v in network.state_dict().items()}
    assert state.keys() == {name for name in own if ".lite_residual." not in name}
    assert all(torch.equal(own[name], value) for name, value in state.items())
    torch.manual_seed(TINY.seed)
    untrained = build_network(TINY, 10).network.state_dict()
    assert not torch.equal(state["stem.conv.weight"], untrained["stem.conv.weight"])


def build_and_count(epochs: multiprocessing.Queue, start: multiprocessing.Barrier) -> None:
    torch.set_num_threads(1)
    start.wait()
    builtin.build_weights(lambda report: epochs.put(report.epoch))


def test_two_processes_at_once_build_it_once() -> None:
    context = multiprocessing.get_context("fork")  # inherits the tiny source
    epochs, start = context.Queue(), context.Barrier(2)
    processes = [
        context.Process(target=build_and_count, args=(epochs, start), daemon=True) for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert epochs.get(timeout=5) == 1
    assert epochs.empty()
    assert builtin.weights_path().exists()


def test_a_build_that_fails_leaves_nothing_that_looks_finished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(report: EpochReport) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        builtin.build_weights(interrupt)
    assert not builtin.weights_path().exists()
    assert builtin.build_weights().exists()  # and the lock is free


def test_a_cache_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TINYTL_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match=r"name another directory .TINYTL_CACHE for built"):
        builtin.build_weights()
