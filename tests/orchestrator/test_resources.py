"""Predictions are what is measured, and requests fall into few classes."""

from pathlib import Path

import pytest

from orchestrator import resources
from orchestrator.resources import memory_class_bytes, predicted_peak_bytes, process_bytes
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
    monkeypatch.setattr(resources, "measure", None)  # whoever measures again fails
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
    monkeypatch.setattr(resources, "library_digest", lambda: "changed")
    predicted_peak_bytes(config(), 10, "cpu", 1)
    assert len(list((own_cache / "measured").iterdir())) == 2


def test_weights_that_bring_modules_need_their_memory() -> None:
    """The same method on the same backbone, whose weights have modules or have none."""
    settings = {"backbone": "proxyless_mobile", "method": "full", "norm": "gn_ws", "resolution": 40}
    without = predicted_peak_bytes(config(**settings), 10, "cpu", 1)
    assert predicted_peak_bytes(config(**settings, weights="imagenet"), 10, "cpu", 1) > without


def test_classes_are_few_and_large_enough() -> None:
    peaks = [1 << shift for shift in range(20, 34)]
    classes = [memory_class_bytes(peak) for peak in peaks]
    assert classes == sorted(classes)
    assert len(set(classes)) <= 7
    for peak, size in zip(peaks, classes, strict=True):
        assert peak + process_bytes() <= size
        assert size & (size - 1) == 0
