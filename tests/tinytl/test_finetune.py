"""A run: what it reports, that it goes on where it stopped, and how it ends when it cannot."""

import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tinytl.checkpoint import write_tensors
from tinytl.config import FinetuneConfig
from tinytl.engine.build import build_network
from tinytl.engine.measure import measure
from tinytl.errors import ConfigError, StorageError, TinyTLError, TrainingError
from tinytl.finetune import CHECKPOINT, EpochReport, epochs, finetune

L_B = "tinytl-lite_residual+bias"
MEMORY = {"peak_bytes", "saved_bytes", "modeled_bytes"}
SPLIT = {
    f"memory.{part}_bytes"
    for part in (
        "parameters", "buffers", "optimizer", "input", "activations", "gradients", "transient",
    )
}  # fmt: skip


def config_of(method: str = L_B, **changes: Any) -> FinetuneConfig:
    values = {
        "dataset": "digits",
        "backbone": "proxyless_tiny",
        "weights": "random",
        "method": method,
        "resolution": 33,
        "batch_size": 8,
        "epochs": 3,
        "train_images": 40,
        "eval_images": 30,
        "validation": 0.2,
        "learning_rate": 3e-3,
    }
    return FinetuneConfig.parse(values | changes)


def run(config: FinetuneConfig, directory: Path) -> list[EpochReport]:
    return list(epochs(config, directory=directory))


def untimed(reports: list[EpochReport]) -> list[tuple[int, dict[str, float]]]:
    """The reports without what depends on the clock."""
    return [
        (r.epoch, {k: v for k, v in r.metrics.items() if not k.endswith("_seconds")})
        for r in reports
    ]


# --- learning ---


@pytest.mark.parametrize("method", ["last", "tinytl-bias", L_B, "full"])
def test_it_learns(method: str, tmp_path: Path) -> None:
    reports = run(config_of(method, validation=0.0), tmp_path)
    losses = [report.metrics["train_loss"] for report in reports]
    assert all(later < earlier for earlier, later in pairwise(losses))


def test_a_network_that_can_learn_the_task_learns_it(tmp_path: Path) -> None:
    config = config_of("full", epochs=5, train_images=150, eval_images=200, crop_scale=1.0)
    metrics = finetune(config, directory=tmp_path)
    assert metrics["test_accuracy"] > 0.5  # ten classes


@pytest.mark.parametrize("method", ["last", L_B, "full"])
def test_plain_and_saving_give_the_same_curve(method: str, tmp_path: Path) -> None:
    # not Adam, whose first steps make of a gradient's rounding error a step of full length
    settings = {"optimizer": "sgd_momentum", "learning_rate": 5e-3}
    plain, saving = (
        run(config_of(method, execution=execution, **settings), tmp_path / execution)
        for execution in ("plain", "saving")
    )
    for ours, theirs in zip(saving, plain, strict=True):
        for metric in ("train_loss", "val_loss"):
            assert ours.metrics[metric] == pytest.approx(theirs.metrics[metric], rel=1e-4)


# --- reports ---


def test_reports_hold_what_is_promised_and_the_test_split_comes_last(tmp_path: Path) -> None:
    reports = run(config_of(), tmp_path)
    always = {"train_loss", "step_seconds", "epoch_seconds"} | MEMORY | SPLIT
    validation, test = {"val_accuracy", "val_loss"}, {"test_accuracy", "test_loss"}
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert [set(report.metrics) for report in reports] == [
        always | validation,
        always | validation,
        always | validation | test,
    ]
    for report in reports:
        m = report.metrics
        assert 0 <= m["val_accuracy"] <= 1
        assert 0 < m["step_seconds"] < m["epoch_seconds"]
        assert m["peak_bytes"] == sum(m[name] for name in SPLIT)


@pytest.mark.parametrize("storage", ["kmeans", "scale"])
def test_the_error_of_stored_weights_is_reported(storage: str, tmp_path: Path) -> None:
    errors = []
    for bits in (8, 4):
        config = config_of(epochs=1, frozen_weights={"storage": storage, "bits": bits})
        (report,) = run(config, tmp_path / str(bits))
        errors.append(report.metrics["frozen_weights.error"])
        torch.manual_seed(config.seed)
        assert errors[-1] == build_network(config, 10).frozen_weights.error
    assert 0 < errors[0] < 0.02 < errors[1] < 0.2


def test_without_validation_there_are_no_validation_metrics(tmp_path: Path) -> None:
    *_, last = run(config_of("last", validation=0.0, epochs=2), tmp_path)
    assert not {name for name in last.metrics if name.startswith("val")}
    assert "test_accuracy" in last.metrics


def test_finetune_calls_back_after_each_epoch_and_returns_the_last_metrics(
    tmp_path: Path,
) -> None:
    heard: list[EpochReport] = []

    def on_epoch(report: EpochReport) -> None:
        assert (tmp_path / CHECKPOINT).exists()
        heard.append(report)

    metrics = finetune(config_of("last"), directory=tmp_path, on_epoch=on_epoch)
    assert [report.epoch for report in heard] == [1, 2, 3]
    assert metrics == heard[-1].metrics


# --- memory ---


@pytest.mark.parametrize("method", ["last", L_B, "full"])
def test_what_is_measured_is_what_random_images_predict(method: str, tmp_path: Path) -> None:
    config = config_of(method, epochs=1)
    predicted = asdict(measure(build_network(config, classes=10).network, config))
    metrics = finetune(config, directory=tmp_path)
    del predicted["peak_at"]  # a name, and metrics are numbers
    for name, value in predicted.items():
        assert metrics[name if name in MEMORY else f"memory.{name}"] == value, name


@pytest.mark.parametrize("train_images", [5, 8, 12])
def test_an_epoch_with_one_full_step_is_measured_in_that(train_images: int, tmp_path: Path) -> None:
    # 12 images are a batch of 8 and one of 4, which is not what is measured
    config = config_of("last", train_images=train_images, validation=0.0, epochs=2)
    first, second = run(config, tmp_path)
    predicted = measure(
        build_network(config, classes=10).network,
        config.model_copy(update={"batch_size": min(train_images, 8)}),
    )
    assert first.metrics["peak_bytes"] == predicted.peak_bytes
    assert first.metrics["memory.input_bytes"] == predicted.input_bytes
    assert second.metrics["peak_bytes"] == first.metrics["peak_bytes"]


# --- going on ---

RUNS = [
    (L_B, {}),
    ("full", {"optimizer": "sgd_momentum", "norm": "bn_frozen", "learning_rate": 0.03}),
    ("tinytl-bias", {"optimizer": "adamw", "weight_decay": 0.1, "execution": "plain"}),
    ("last", {"optimizer": "sgd", "label_smoothing": 0.1, "dropout": 0.5}),
    ("tinytl-lite_residual", {"frozen_weights": {"bits": (3, 4, 5, 6)}}),
    ("full+checkpointing", {}),
    ("sparse-update", {"sparse_update": {"blocks": 3, "ratio": 0.25}, "frozen_weights": {}}),
]


@pytest.mark.parametrize(("method", "changes"), RUNS, ids=[method for method, _ in RUNS])
def test_an_interrupted_run_gives_the_numbers_of_an_uninterrupted_one(
    method: str, changes: dict, tmp_path: Path
) -> None:
    config = config_of(method, **changes)
    expected = untimed(run(config, tmp_path / "at once"))
    seen = []
    for _ in range(config.epochs):  # one epoch in each process, as it were
        torch.manual_seed(len(seen) + 99)  # the state of the generator must not matter
        part = epochs(config, directory=tmp_path / "in parts")
        if seen:
            assert untimed([next(part)]) == seen[-1:]  # begins with what is known
        seen += untimed([next(part)])
        part.close()
    assert seen == expected


def test_a_finished_run_tells_its_last_report_and_trains_no_more(tmp_path: Path) -> None:
    reports = run(config_of("last"), tmp_path)
    before = (tmp_path / CHECKPOINT).stat().st_mtime_ns
    assert run(config_of("last"), tmp_path) == reports[-1:]
    assert (tmp_path / CHECKPOINT).stat().st_mtime_ns == before


def test_on_files_the_numbers_do_not_depend_on_what_the_cache_keeps(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(30):
        path = tmp_path / "photos" / f"class_{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (40 + number, 90 - number, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    config = config_of("last", dataset="photos", train_images=None)
    settings = {"data": tmp_path, "largest_resolution": 40}
    kept_nothing, resumed = (
        epochs(config, directory=tmp_path / name, cache_limit_bytes=0, **settings)
        for name in ("nothing", "resumed")
    )
    next(resumed)
    expected = untimed(list(kept_nothing))
    kept = untimed(list(epochs(config, directory=tmp_path / "kept", **settings)))
    rest = untimed(list(epochs(config, directory=tmp_path / "resumed", **settings)))
    assert kept == rest == expected


def test_seeds_differ_and_the_same_one_repeats(tmp_path: Path) -> None:
    results = [
        untimed(run(config_of("last", seed=seed, epochs=1), tmp_path / str(index)))
        for index, seed in enumerate((1, 1, 2))
    ]
    assert results[0] == results[1] != results[2]


CHILD = """
import sys
from pathlib import Path
import torch
from tinytl.config import FinetuneConfig
from tinytl.finetune import finetune
torch.set_num_threads(1)
finetune(
    FinetuneConfig.model_validate_json(sys.argv[1]),
    directory=Path(sys.argv[2]),
    on_epoch=lambda report: print(report.epoch, flush=True),
)
"""


@pytest.mark.integration
def test_a_killed_process_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    config = config_of(train_images=80)
    expected = untimed(run(config, tmp_path / "at once"))
    command = [sys.executable, "-c", CHILD, config.model_dump_json(), str(tmp_path / "killed")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "1\n"
        child.send_signal(signal.SIGKILL)  # in the second epoch
    assert child.returncode == -signal.SIGKILL
    first, *rest = untimed(run(config, tmp_path / "killed"))
    assert first[0] < config.epochs
    assert [first, *rest] == expected[first[0] - 1 :]


# --- when it cannot go on ---


def test_a_loss_that_is_no_number_ends_the_run_and_names_the_learning_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # weights so large that the logits overflow
    state = build_network(config_of("full"), classes=10).network.state_dict()
    state["classifier.weight"] += 1e38
    torch.save(state, tmp_path / "proxyless_tiny@rendered_digits.pt")
    monkeypatch.setenv("TINYTL_WEIGHTS", str(tmp_path))
    config = config_of("full", weights="rendered_digits", learning_rate=0.5)
    with pytest.raises(TrainingError, match=r"nan in epoch 1, step 1; lower learning_rate .*0\.5"):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run" / CHECKPOINT).exists()


DAMAGES = {
    "empty": lambda data: b"",
    "cut off": lambda data: data[: len(data) // 2],
    "garbage": lambda data: b"garbage" * 100,
    "wrong names": lambda data: data.replace(b"data.pkl", b"atad.pkl"),
    "broken pickle": lambda data: data.replace(b"trained", b"tr\xffined"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_refused(damage: str, tmp_path: Path) -> None:
    run(config_of("last", epochs=1), tmp_path)
    path = tmp_path / CHECKPOINT
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(StorageError, match="it is damaged; remove it to start the run anew"):
        run(config_of("last", epochs=1), tmp_path)


def test_a_checkpoint_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / CHECKPOINT)
    with pytest.raises(StorageError, match="it is damaged"):
        run(config_of("last"), tmp_path)
    write_tensors(tmp_path / CHECKPOINT, {"a": torch.zeros(1)})
    with pytest.raises(StorageError, match="another configuration"):
        run(config_of("last"), tmp_path)


OTHERS = [{"method": "full"}, {"seed": 1}, {"epochs": 5}, {"learning_rate": 1e-4}]


@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_a_checkpoint_of_another_configuration_is_refused(other: dict, tmp_path: Path) -> None:
    config = config_of("last", epochs=1)
    run(config, tmp_path)
    with pytest.raises(StorageError, match="belongs to a run with another configuration; choose"):
        run(config.model_copy(update=other), tmp_path)


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """Writing more than this fails, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_ends_the_run_and_leaves_the_last_checkpoint_whole(tmp_path: Path) -> None:
    config = config_of()
    expected = untimed(run(config, tmp_path / "at once"))
    directory = tmp_path / "full disk"
    running = epochs(config, directory=directory)
    assert untimed([next(running)]) == expected[:1]
    whole = (directory / CHECKPOINT).read_bytes()
    with (
        files_of_at_most(len(whole) // 2),
        pytest.raises(
            StorageError, match=r"cannot write .*checkpoint\.pt: File too large; free some"
        ),
    ):
        next(running)
    assert [path.name for path in directory.iterdir()] == [CHECKPOINT]
    assert (directory / CHECKPOINT).read_bytes() == whole
    assert untimed(run(config, directory)) == expected


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write"):
        run(config_of("last", epochs=1), tmp_path / "file" / "run")


BROKEN = [
    ({"method": "magic", "backbone": "tiny"}, ["method: unknown", "backbone: unknown"]),
    (
        {"resolution": 16, "lite_residual": {"width": [1, 1]}, "method": "last"},
        ["resolution: ", "lite_residual.width: ", "lite_residual: the method last"],
    ),
]


@pytest.mark.parametrize(("changes", "starts"), BROKEN, ids=["names", "values"])
def test_all_that_is_wrong_with_a_configuration_is_told_at_once(
    changes: dict, starts: list[str], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        run(config_of(**{"method": L_B} | changes), tmp_path / "run")
    problems = caught.value.problems
    assert len(problems) == len(starts)
    assert all(any(p.startswith(start) for p in problems) for start in starts)
    assert isinstance(caught.value, TinyTLError)
    assert not (tmp_path / "run").exists()
