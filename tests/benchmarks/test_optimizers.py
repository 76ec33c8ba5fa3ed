"""The benchmark of optimizers: a row for each, the first of which is Adam with float32 moments."""

from typing import Any

import pytest

from benchmarks.systems.optimizers import SETTINGS, compare, draw, print_results
from tinytl.config import FinetuneConfig

SMALL: dict[str, Any] = SETTINGS | {
    "weights": "random",
    "resolution": 33,
    "epochs": 1,
    "train_images": 32,
    "eval_images": 10,
}


@pytest.mark.integration
def test_8_bit_moments_are_compared_with_adam_seed_by_seed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    results = compare(SMALL, [0, 1])
    adam, ours = results["rows"]
    assert (adam["optimizer"], ours["optimizer"]) == ("adam", "adam8bit")
    assert adam["test_loss_differences"] == [0, 0]
    assert adam["test_loss"][0] != adam["test_loss"][1]
    # the peak is in the activations, so it goes down by what is resident
    saved = adam["state_bytes"] - ours["state_bytes"]
    assert saved > 0
    assert adam["peak_bytes"] - ours["peak_bytes"] == saved
    assert all(abs(each) < 0.01 for each in ours["test_loss_differences"])
    print_results(results)
    assert "adam8bit" in capsys.readouterr().out
    assert draw(results).startswith(b"\x89PNG")


def test_the_settings_are_a_configuration() -> None:
    assert FinetuneConfig.parse(SETTINGS).optimizer == "adam"
