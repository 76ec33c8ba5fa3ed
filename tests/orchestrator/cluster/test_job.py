"""The script that runs on a cluster."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.cluster import Job
from orchestrator.record import SWEEP_FILE
from orchestrator.spec import load_spec
from tinytl.errors import ConfigError


def run_script(job: Job, folder: Path, *arguments: str) -> list[str]:
    """The arguments that the script gives to `tinytl`."""
    command = folder / "bin" / "tinytl"
    command.parent.mkdir(parents=True)
    command.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    command.chmod(0o755)
    for name, text in job.files().items():
        (folder / name).write_text(text)
    path = f"{command.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", folder / "run.sh", *arguments],
        env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


def test_the_script_runs_the_sweep_with_its_paths(job: Job, tmp_path: Path) -> None:
    expected = ["sweep", str(tmp_path / SWEEP_FILE), "--address", "10.0.0.1:1", "--nodes", "3"]
    paths = ["--out", "/shared/my runs/digits", "--data", "/shared/data $HOME"]
    assert run_script(job, tmp_path, "10.0.0.1:1", "3") == expected + paths
    assert load_spec(str(tmp_path / SWEEP_FILE)) == job.spec


def test_the_script_goes_on_with_a_sweep_that_has_begun(job: Job, tmp_path: Path) -> None:
    begun = replace(job, out=str(tmp_path / "my runs"))
    (tmp_path / "my runs").mkdir()
    (tmp_path / "my runs" / SWEEP_FILE).touch()
    arguments = run_script(begun, tmp_path)
    assert arguments[2:6] == ["--address", "auto", "--nodes", "1"]
    assert arguments[-1] == "--resume"


def test_paths_must_be_absolute_and_no_addresses(job: Job) -> None:
    with pytest.raises(ConfigError) as error:
        Job(job.spec, "s3://bucket/runs", "data", "/weights")
    assert [problem.split(":")[0] for problem in error.value.problems] == ["--out", "--data"]
    assert "'s3://bucket/runs'" in str(error.value) and "must be mounted" in str(error.value)


def test_a_label_is_what_every_cluster_takes_as_a_name(job: Job) -> None:
    assert job.label == "digits-of-2"
    long = job.spec.model_copy(update={"name": "a" * 39 + "." + "b" * 20})
    assert replace(job, spec=long).label == "a" * 39
