"""Predictions are what is measured, and requests fall into few classes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from orchestrator.resources import classes as module
from orchestrator.resources.classes import (
    LOADER_BYTES,
    gpu_share,
    memory_class_bytes,
    predicted_peak_bytes,
    process_bytes,
)
from tinytl.config import FinetuneConfig
from tinytl.engine.build import build_network
from tinytl.engine.measure import measure


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TINYTL_CACHE", str(tmp_path))
    return tmp_path


def config(**settings: object) -> FinetuneConfig:
    values = {
        "dataset": "digits", "backbone": "proxyless_tiny", "weights": "random",
        "method": "tinytl-lite_residual+bias", "resolution": 24, "batch_size": 4,
    }  # fmt: skip
    return FinetuneConfig.parse(values | settings)


def test_the_prediction_is_the_measured_peak_and_is_kept(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predicted = predicted_peak_bytes(config(), 10, "cpu", 1)
    network = build_network(config(), 10).network
    assert predicted == measure(network, config()).peak_bytes
    assert len(list((own_cache / "measured").iterdir())) == 1
    monkeypatch.setattr(module, "measure", None)  # whoever measures again fails
    assert predicted_peak_bytes(config(learning_rate=0.5, seed=3), 10, "cpu", 1) == predicted


DIFFERENT = [
    {"resolution": 32}, {"batch_size": 8}, {"method": "full"}, {"execution": "plain"},
    {"optimizer": "sgd"}, {"norm": "bn_frozen"}, {"lite_residual": {"width": 2}},
    {"frozen_weights": {"bits": 4}},
]  # fmt: skip


@pytest.mark.parametrize("settings", DIFFERENT, ids=str)
def test_another_shape_is_another_prediction(settings: dict) -> None:
    first = predicted_peak_bytes(config(), 10, "cpu", 1)
    assert predicted_peak_bytes(config(**settings), 10, "cpu", 1) != first


def test_another_library_is_another_prediction(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predicted_peak_bytes(config(), 10, "cpu", 1)
    monkeypatch.setattr(module, "library_digest", lambda: "changed")
    predicted_peak_bytes(config(), 10, "cpu", 1)
    assert len(list((own_cache / "measured").iterdir())) == 2


def test_weights_that_bring_modules_need_their_memory() -> None:
    """The same method on the same backbone, whose weights have modules or have none."""
    settings = {"backbone": "proxyless_mobile", "method": "full", "norm": "gn_ws", "resolution": 40}
    without = predicted_peak_bytes(config(**settings), 10, "cpu", 1)
    assert predicted_peak_bytes(config(**settings, weights="imagenet"), 10, "cpu", 1) > without


PEAKS = [1 << shift for shift in range(20, 34)]


def test_classes_are_few_and_large_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "process_bytes", lambda device: 2**29)
    classes = [memory_class_bytes(peak) for peak in PEAKS]
    assert classes == sorted(classes)
    assert len(set(classes)) <= 7
    for peak, size in zip(PEAKS, classes, strict=True):
        assert peak + 2**29 + LOADER_BYTES <= size
        assert size & (size - 1) == 0
        assert memory_class_bytes(peak, larger=True) == 2 * size


def test_shares_of_a_gpu_are_few_and_large_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a GPU of 16 GiB whose processes take half a GiB each."""
    monkeypatch.setattr(module, "process_bytes", lambda device: 2**29)
    shares = {peak: gpu_share(peak, 2**34) for peak in PEAKS}
    assert {share.as_integer_ratio()[1] for share in shares.values()} == {1, 2, 4, 8, 16}
    for peak, share in shares.items():
        assert share == 1 / 16 or share / 2 < (peak + 2**29) / 2**34 <= share
        assert gpu_share(peak, 2**34, larger=True) == min(1, 2 * share)
    assert gpu_share(2**34, 2**34) > 1


def test_a_process_takes_what_it_takes(own_cache: Path) -> None:
    """Not less than torch alone, in a process of its own, and measured once."""
    program = (
        "import torch; from pathlib import Path;"
        "from orchestrator.resources.kernel import kernel_number;"
        "print(kernel_number(Path('/proc/self/status'), 'RssAnon') * 1024)"
    )
    run = [sys.executable, "-c", program]
    torch_bytes = int(subprocess.run(run, capture_output=True, check=True, text=True).stdout)
    process_bytes.cache_clear()
    measured = process_bytes("cpu")
    process_bytes.cache_clear()
    assert torch_bytes < measured < 4 * torch_bytes
    assert process_bytes("cpu") == measured
    assert len(list((own_cache / "measured").iterdir())) == 1


@pytest.mark.gpu
def test_a_process_takes_a_context_of_a_gpu(cuda: torch.device) -> None:
    process_bytes.cache_clear()
    assert 10**8 < process_bytes("cuda") < 2 * 10**9
