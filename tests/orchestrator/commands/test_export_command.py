"""`tinytl export`: whose network is exported, what is said of it, and its version in MLflow."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import tinytl.export
from orchestrator.checkpoints import checkpoint_of
from orchestrator.cli import main
from orchestrator.commands.export import Format
from orchestrator.record import Asked, SweepRecord, Told, sweep_id
from orchestrator.record.saved import read_sweep
from orchestrator.tracking.registry import alias_of
from orchestrator.tracking.store import ARTIFACTS_FOLDER, STORE_FILE
from tests.orchestrator.commands.test_train_command import CONFIG, written
from tests.sweeps import run, spec
from tinytl.export import FORMATS
from tinytl.finetune import CHECKPOINT


def command(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as exit:
        main([*map(str, words)])
    printed = capsys.readouterr()
    return int(exit.value.code or 0), " ".join((printed.out + printed.err).split())


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of one trial; tests copy what they change."""
    directory = tmp_path_factory.mktemp("swept") / "run"
    run(directory, "local", search={"trials": 1}, train={"epochs": 1})
    return directory


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `tinytl train`."""
    root = tmp_path_factory.mktemp("single")
    values = CONFIG | {"epochs": 1}
    with pytest.raises(SystemExit) as exit:
        main(["train", str(written(root, values)), "--out", str(root / "one")])
    assert not exit.value.code
    return root / "one"


def recorded(directory: Path, **sections: Any) -> Path:
    """A sweep without checkpoints: trials that ended in all ways, and one that runs."""
    record = SweepRecord.create(directory, spec(**sections).resolved_yaml())
    params = {"backbone": "proxyless_tiny", "method": "last", "resolution": 24, "batch_size": 4}
    for number, state in enumerate(["complete", "stopped", None]):
        record.append(Asked(f"digits-{number:04d}", "digits", number, params))
        if state is not None:
            metrics = {"val_accuracy": 0.5, "peak_bytes": 1_000_000}
            record.append(Told(f"digits-{number:04d}", state, metrics))
    record.close("finished")
    return directory


def test_formats_are_those_of_the_library() -> None:
    assert [str(each) for each in Format] == list(FORMATS)


@pytest.mark.integration
@pytest.mark.parametrize("which", ["DIR:digits-0000", "digits-0000", "DIR --budget 1GB", "ONE"])
def test_a_trial_or_a_run_is_exported(
    which: str, swept: Path, single: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(swept.parent)
    shutil.copytree(swept, tmp_path / "runs" / "run")
    monkeypatch.chdir(tmp_path)
    words = which.replace("DIR", str(swept)).replace("ONE", str(single)).split()
    status, said = command(capsys, "export", *words, "--format", "state")
    name = "one" if which == "ONE" else "tiny-digits-0000"
    assert status == 0, said
    assert f'load it: import tinytl.export; tinytl.export.load("exported/{name}")' in said
    assert tinytl.export.load(Path("exported") / name).classifier.out_features == 10
    memory = json.loads(Path("exported", name, "memory.json").read_text())
    history = read_sweep(swept).history
    if which != "ONE":
        assert memory["peak_bytes"] == history.told["digits-0000"].metrics["peak_bytes"]
        assert memory["source"] == "the trial digits-0000 of the sweep tiny"
    assert command(capsys, "export", *words)[0] == 2, "it is there already"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("DIR:digits-0000", "a sweep keeps those of its fronts' members; train it again with"),
        ("DIR:digits-0000", "`tinytl train --from DIR:digits-0000 --out runs/tiny-digits-0000`"),
        ("DIR:digits-0001", "it is stopped, and a sweep keeps those of its fronts"),
        ("DIR:digits-0002", "digits-0002 of DIR has no checkpoint yet"),
        ("DIR:digits-0009", "unknown trial of DIR 'digits-0009': choose one of digits-0000"),
        ("DIR", "DIR holds no checkpoint.pt; give DIR:TRIAL of a sweep"),
        ("DIR --budget 0.1MB", "the smallest needs 1.00 MB"),
        ("DIR --study digits", "add --budget"),
        ("DIR --budget much", "--budget: must be whole bytes"),
        ("digits-0000", "there is no sweep in runs/"),
        ("runs/nothing", "runs/nothing holds no checkpoint.pt"),
        ("nowhere:digits-0000", "nowhere holds no sweep"),
        ("ONE --budget 1MB", "ONE is a single run; leave them out"),
        ("ONE --out DIR", "--out: DIR is there already"),
        ("ONE --register x", "--register: needs a sweep's trial"),
        ("ONE --format torch", "'torch' is not one of 'state', 'torch.export', 'onnx'"),
    ],
)
def test_mistakes_are_one_sentence(
    words: str, problem: str, single: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    directory = recorded(tmp_path / "run")

    def named(text: str) -> str:
        return text.replace("DIR", str(directory)).replace("ONE", str(single))

    # as it is read in their terms
    problem = problem.replace("give DIR:", "give D:").replace("its DIR", "its D")
    status, said = command(capsys, "export", *named(words).split())
    said = said.replace("give DIR:", "give D:").replace("its DIR", "its D")
    assert status == 2
    assert named(problem) in said
    assert not (tmp_path / "exported").exists()


def test_an_unfinished_run_says_so(
    single: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    from tinytl.checkpoint import read_tensors, write_tensors

    state = read_tensors(single / CHECKPOINT, torch.device("cpu"))
    state["config"]["epochs"] = 5
    write_tensors(tmp_path / "run" / CHECKPOINT, state)
    words = ("export", tmp_path / "run", "--out", tmp_path / "out", "--format", "state")
    status, said = command(capsys, *words)
    assert status == 0 and "the run is not finished: epoch 1 of 5" in said


# --- the registry ---


@pytest.mark.parametrize(
    ("peak_bytes", "alias"),
    [(1, "under-1mb"), (36_000_000, "under-36mb"), (36_000_001, "under-37mb")],
)
def test_aliases_are_rounded_up(peak_bytes: int, alias: str) -> None:
    assert alias_of(peak_bytes) == alias


@pytest.mark.integration
def test_it_becomes_a_version_of_a_model(
    swept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    directory = tmp_path / "run"
    shutil.copytree(swept, directory)
    words = ("export", f"{directory}:digits-0000", "--format", "state", "--register", "digits 'x'")
    for number in (1, 2):
        out = tmp_path / f"out-{number}"
        status, said = command(capsys, *words, "--out", out)
        assert status == 0, said
        peak_bytes = json.loads((out / "memory.json").read_text())["peak_bytes"]
        alias = alias_of(peak_bytes)
        assert f"registered: version {number} of digits 'x', models:/digits 'x'@{alias}" in said
    uri = f"sqlite:///{directory / STORE_FILE}"
    client = MlflowClient(uri, uri)
    version = client.get_model_version_by_alias("digits 'x'", alias)
    assert version.version in (2, "2")
    tags = client.get_run(version.run_id).data.tags
    assert (tags["tinytl.trial"], tags["tinytl.sweep"]) == ("digits-0000", sweep_id(directory))
    assert version.tags["peak_bytes"] == str(peak_bytes)
    assert "tinytl.export.load" in version.description
    path = version.source.removeprefix("mlflow-artifacts:/")
    network = tinytl.export.load(directory / ARTIFACTS_FOLDER / path)
    assert network.classifier.out_features == 10


@pytest.mark.integration
@pytest.mark.parametrize(
    ("name", "store", "problem"),
    [
        ("a/b", "kept", "--register a/b: the MLflow store refuses it"),
        ("a", "lost", "has no run of digits-0000 yet; upload it with `tinytl sync`"),
    ],
)
def test_what_cannot_be_registered(
    name: str, store: str, problem: str, swept: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    directory = tmp_path / "run"
    shutil.copytree(swept, directory)
    if store == "lost":
        for file in directory.glob(f"{STORE_FILE}*"):
            file.unlink()
    words = ("export", f"{directory}:digits-0000", "--format", "state", "--register", name)
    status, said = command(capsys, *words, "--out", tmp_path / "out")
    assert status == 2 and problem in said
    assert not (directory / STORE_FILE).exists() or store == "kept"


def test_a_server_that_is_away_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = recorded(tmp_path / "run", tracking={"uri": "http://127.0.0.1:9"})
    checkpoint = checkpoint_of(directory, "digits-0000")
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    words = ("export", f"{directory}:digits-0000", "--out", tmp_path / "out", "--register", "x")
    status, said = command(capsys, *words)
    assert status == 2 and "--register: the MLflow store does not answer" in said
    assert "Traceback" not in said and not (tmp_path / "out").exists()
