"""`tinytl front`: fronts, and the best configuration within a budget."""

import csv
import io
import json
from pathlib import Path

import pytest

from orchestrator.checkpoints import checkpoint_of
from orchestrator.cli import main
from orchestrator.record import Asked, SweepRecord, Told
from tests.sweeps import spec

# accuracy and memory in MB; the third is on no front
TRIALS = {"last": (0.5, 1.0), "tinytl-bias": (0.7, 2.0), "full": (0.6, 3.0)}


def record_sweep(directory: Path, confirmed: bool = False) -> Path:
    """Writes a finished sweep; where it is confirmed, the second member falls below the first."""
    record = SweepRecord.create(directory, spec().resolved_yaml())
    for number, (method, (accuracy, megabytes)) in enumerate(TRIALS.items()):
        name = f"digits-{number:04d}"
        params = {"backbone": "proxyless_tiny", "method": method, "resolution": 24, "batch_size": 4}
        metrics = {"val_accuracy": accuracy, "peak_bytes": int(megabytes * 1e6)}
        record.append(Asked(name, "digits", number, params))
        record.append(Told(name, "complete", metrics))
        for seed, shift in ((1, -0.3), (2, -0.2)) if confirmed and method != "full" else ():
            shift = shift if method == "tinytl-bias" else 0.0
            again = f"{name}-seed-{seed}"
            record.append(Asked(again, "digits", number, params | {"seed": seed}, confirms=name))
            metrics = metrics | {"val_accuracy": accuracy + shift}
            record.append(Told(again, "complete", metrics))
    record.close("finished")
    return directory


def front(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as exit:
        main(["front", *map(str, arguments)])
    printed = capsys.readouterr()
    assert (exit.value.code or 0) == (2 if printed.err else 0)
    return printed.out + printed.err


def test_csv_and_json_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = record_sweep(tmp_path / "run")
    rows = list(csv.DictReader(io.StringIO(front(capsys, directory, "--csv"))))
    assert [(row["trial"], float(row["val_accuracy"])) for row in rows] == [
        ("digits-0000", 0.5),
        ("digits-0001", 0.7),
    ]
    found = json.loads(front(capsys, directory, "--json"))["digits"]
    assert [{name: str(value) for name, value in row.items()} for row in found] == rows


@pytest.mark.parametrize(
    ("confirmed", "budget", "trial"),
    [
        (False, "1MB", "digits-0000"),
        (False, "1999999", "digits-0000"),
        (False, "2 MB", "digits-0001"),
        (False, "1GB", "digits-0001"),
        (True, "1GB", "digits-0000"),
    ],
)
def test_the_best_within_a_budget_is_ready_to_run(
    confirmed: bool, budget: str, trial: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = record_sweep(tmp_path / "run", confirmed)
    printed = front(capsys, directory, "--budget", budget)
    train = f"train it: tinytl train --from {directory}:{trial}"
    assert printed.splitlines()[-1] == train
    checkpoint = checkpoint_of(directory, trial)
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    printed = front(capsys, directory, "--budget", budget)
    assert printed.splitlines()[-2:] == [train, f"export it: tinytl export {directory}:{trial}"]


def test_a_member_that_falls_off_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    directory = record_sweep(tmp_path / "run", confirmed=True)
    printed = front(capsys, directory)
    first, second = (
        next(line for line in printed.splitlines() if line.rstrip().endswith(f"digits-000{number}"))
        for number in (0, 1)
    )
    assert first.split()[:5] == ["50.0", "1.00", "50.0", "2", "yes"]
    # 40 and 50 %: mean 45, standard deviation sqrt(50) = 7.07
    assert second.split()[:5] == ["45.0", "±", "7.1", "2.00", "70.0"]
    assert "no, falls off" in second
    rows = list(csv.DictReader(io.StringIO(front(capsys, directory, "--csv"))))
    assert [row["confirmed"] for row in rows] == ["True", "False"]
    assert float(rows[1]["val_accuracy.deviation"]) == pytest.approx(0.0707107)
    assert float(rows[1]["val_accuracy"]) == 0.7


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (
            ["--budget", "0.5MB"],
            "no member of the front trains within 0.5 MB; the smallest needs 1.",
        ),
        (["--budget", "much"], "--budget: must be whole bytes"),
        (
            ["--study", "digit"],
            "unknown study 'digit': choose one of digits; did you mean 'digits'",
        ),
        (["--csv", "--json"], "leave one out"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert problem in front(capsys, record_sweep(tmp_path / "run"), *arguments)


def test_without_a_complete_trial_there_is_no_front(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    SweepRecord.create(tmp_path / "run", spec().resolved_yaml()).close()
    assert "no trial is complete yet" in front(capsys, tmp_path / "run")
