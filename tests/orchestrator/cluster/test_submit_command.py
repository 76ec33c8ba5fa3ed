"""`tinytl submit`: one command for every way, mistakes in one sentence, failures passed on."""

import os
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.cluster import load_settings

WAYS = {
    "--slurm": (["job.sh"], "sbatch job.sh"),
    "--kuberay": (["rayjob.yaml"], "kubectl apply --namespace default --filename rayjob.yaml"),
    "--cluster=http://127.0.0.1:8265": (
        ["run.sh", "sweep.yaml"],
        "ray job submit --address http://127.0.0.1:8265 --working-dir . --no-wait -- sh run.sh",
    ),
}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cluster.yaml").write_text("image: registry.example/tinytl:1")
    return tmp_path


def submit(*arguments: str) -> int:
    """The exit code of `tinytl submit`."""
    with pytest.raises(SystemExit) as exit:
        main(["submit", *arguments])
    return int(exit.value.code or 0)


def stub(place: Path, monkeypatch: pytest.MonkeyPatch, name: str, script: str) -> None:
    """Puts a command in front of all others."""
    command = place / "bin" / name
    command.parent.mkdir(exist_ok=True)
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")


@pytest.mark.parametrize("way", WAYS)
def test_files_are_written_and_sent(
    way: str, place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    files, command = WAYS[way]
    name = command.split()[0]
    stub(place, monkeypatch, name, f'echo "sent: {name} $*"; ls; exit 0')
    assert submit("digits", "batch_size=8", way, "--settings=cluster.yaml") == 0
    output = capfd.readouterr().out
    assert f"sent: {command}" in output
    assert sorted(path.name for path in (place / "submit" / "digits").iterdir()) == files
    assert "follow it with" in output


def test_a_dry_run_only_writes(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stub(place, monkeypatch, "sbatch", "echo sent")
    assert submit("digits", "--slurm", "--dry-run", "--folder=here", "--out=/nfs/d") == 0
    output = capfd.readouterr().out
    assert "wrote here/job.sh" in output and "not run in here: sbatch job.sh" in output
    assert "sent" not in output
    assert "--out /nfs/d" in (place / "here" / "job.sh").read_text()


def test_the_settings_that_are_shown_are_the_defaults(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert submit("--print-settings") == 0
    (place / "shown.yaml").write_text(capfd.readouterr().out)
    assert load_settings(place / "shown.yaml") == load_settings(None)


MISTAKES = {
    "no way": ([], "give one of --cluster, --kuberay, --slurm and --ray-up, but got none"),
    "two ways": (["--slurm", "--kuberay"], "but got --kuberay and --slurm"),
    "a relative path": (["--slurm", "--out=runs/d"], "--out: must be an absolute path"),
    "a wrong sweep": (["--slurm", "resolution=1"], "resolution"),
    "no such settings": (["--slurm", "--settings=none.yaml"], "cannot read none.yaml"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(mistake: str, capfd: pytest.CaptureFixture[str]) -> None:
    arguments, sentence = MISTAKES[mistake]
    assert submit("digits", *arguments) == 2
    error = capfd.readouterr().err
    assert sentence in error and "Traceback" not in error


def test_a_missing_command_and_one_that_fails(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(place))
        assert submit("digits", "--slurm") == 2
    assert "there is no command sbatch on this machine" in capfd.readouterr().err
    stub(place, monkeypatch, "sbatch", "echo 'no such partition' >&2; exit 7")
    assert submit("digits", "--slurm") == 2
    error = capfd.readouterr().err
    assert "no such partition" in error and "`sbatch job.sh` ended with exit code 7" in error
