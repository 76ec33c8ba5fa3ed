"""`tinytl train`: a configuration of a file or a sweep, trained and measured."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.cli import main
from orchestrator.record import Asked, SweepRecord, Told
from orchestrator.record.saved import read_sweep
from orchestrator.single import CONFIG_FILE, config_of_file, config_of_trial
from tests.sweeps import spec
from tinytl.config import FinetuneConfig
from tinytl.errors import ConfigError
from tinytl.finetune import CHECKPOINT

CONFIG = {
    "dataset": "digits", "backbone": "proxyless_tiny", "method": "tinytl-lite_residual+bias",
    "resolution": 24, "batch_size": 4, "weights": "random", "epochs": 2, "train_images": 24,
    "eval_images": 20, "validation": 0.2,
}  # fmt: skip
NESTED = CONFIG | {"lite_residual": {"width": [1, 0, 1, 0], "kernel_size": 3}}
FLAT = CONFIG | {"lite_residual.kernel_size": 3} | {
    f"lite_residual.width.{stage}": width for stage, width in enumerate([1, 0, 1, 0])
}  # fmt: skip


def written(directory: Path, values: dict[str, Any]) -> Path:
    file = directory / "one.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


def train(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit:
        main(["train", *map(str, arguments)])
    return int(exit.value.code or 0)


def recorded(directory: Path) -> Path:
    record = SweepRecord.create(directory, spec(search={"seed": 5}).resolved_yaml())
    params = {"backbone": "proxyless_tiny", "method": "last", "resolution": 24, "batch_size": 4}
    record.append(Asked("digits-0000", "digits", 0, params))
    metrics = {"val_accuracy": 0.5, "peak_bytes": 1_000_000}
    record.append(Told("digits-0000", "complete", metrics))
    record.close("finished")
    return directory


@pytest.mark.parametrize("values", [NESTED, FLAT])
def test_files_may_be_nested_or_flat(values: dict[str, Any], tmp_path: Path) -> None:
    assert config_of_file(written(tmp_path, values), []) == FinetuneConfig.parse(NESTED)


@pytest.mark.parametrize(
    ("override", "changes"),
    [
        ("epochs=5", {"epochs": 5}),
        ("learning_rate=2e-4", {"learning_rate": 2e-4}),
        ("lite_residual.width.1=2", {"lite_residual": {"width": [1, 2, 1, 0], "kernel_size": 3}}),
        ("lite_residual.width=2", {"lite_residual": {"width": 2, "kernel_size": 3}}),
        ("lite_residual={width: 2}", {"lite_residual": {"width": 2}}),
        ("lite_residual.groups=1",
         {"lite_residual": {"width": [1, 0, 1, 0], "kernel_size": 3, "groups": 1}}),
    ],
)  # fmt: skip
def test_overrides_replace_what_the_file_says(
    override: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    for values in (NESTED, FLAT):
        found = config_of_file(written(tmp_path, values), [override])
        assert found == FinetuneConfig.parse(NESTED | changes)


@pytest.mark.parametrize(
    ("values", "overrides", "problem"),
    [
        ([1], [], "must be a mapping of a configuration's keys, but got [1]"),
        ({"name": "x", "params": {}}, [], "is a sweep file; run it with `tinytl sweep"),
        (CONFIG, ["=3"], "'=3': an override must be key=value"),
        (CONFIG, ["epochs=0"], "epochs: input should be greater than or equal to 1, but got 0"),
        (CONFIG, ["resolutoin=32"], "resolutoin: unknown key"),
    ],
)
def test_mistakes_of_a_file(
    values: Any, overrides: list[str], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as error:
        config_of_file(written(tmp_path, values), overrides)
    assert problem in str(error.value)


def test_a_trial_keeps_its_seed(tmp_path: Path) -> None:
    config = config_of_trial(read_sweep(recorded(tmp_path / "run")), "digits-0000", ["epochs=9"])
    assert (config.seed, config.method, config.epochs) == (5, "last", 9)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "give one configuration to train: a YAML file, or --from DIR:TRIAL, but got neither"),
        (["a.yaml", "--from", "RUN:digits-0000"], "but got a.yaml, --from"),
        (["a.yaml"], "cannot read a.yaml: No such file"),
        (["a.yaml", "--budget", "1MB"], "add --from DIR"),
        (["--from", "RUN"], "give DIR:TRIAL, or DIR and --budget"),
        (["--from", "RUN:digits-0000", "--budget", "1MB"], "and a budget"),
        (["--from", "RUN:digits-0001"], "did you mean 'digits-0000'?"),
        (["--from", "RUN", "--budget", "0.1MB"], "the smallest needs 1.00 MB"),
        (["--from", "nowhere:digits-0000"], "nowhere holds no sweep"),
        (["--from", "nowhere"], "give DIR:TRIAL, or DIR and --budget"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = recorded(tmp_path / "run")
    arguments = [word.replace("RUN", str(directory)) for word in arguments]
    assert train(*arguments) == 2
    assert problem in capsys.readouterr().err


def test_a_run_shows_its_epochs_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory, out = recorded(tmp_path / "run"), tmp_path / "out"
    arguments = ["--from", directory, "--budget", "1MB", "--out", out]
    assert train(*arguments) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in printed] == [
        "epoch 1/2", "epoch 2/2", "validation accuracy (%)", "test accuracy (%)",
        "measured training memory (MB)", "weights",
    ]  # fmt: skip
    measured, predicted = printed[4].partition(": ")[2].split(", predicted ")
    assert float(measured) == float(predicted) > 0
    assert (out / CHECKPOINT).exists()
    assert train(*arguments) == 2
    assert "already holds a run; continue it with --resume" in capsys.readouterr().err
    assert train(*arguments, "--resume") == 0
    assert capsys.readouterr().out.splitlines() == printed[1:], "the last epoch, once more"
    # what was trained is written down, and is the same configuration
    assert config_of_file(out / CONFIG_FILE, []) == config_of_trial(
        read_sweep(directory), "digits-0000", []
    )
