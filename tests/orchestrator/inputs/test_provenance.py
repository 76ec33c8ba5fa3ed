"""What trials depend on is what really is on the machine, and tells nothing of who runs it."""

import hashlib
import json
import subprocess
from dataclasses import asdict

import pytest

from orchestrator.inputs import provenance
from orchestrator.inputs.provenance import environment_of, inputs_of
from orchestrator.inputs.site import Site
from tests.sweeps import spec
from tinytl.builtin import build_weights
from tinytl.data import load_splits

SECRET = "s3cr3t"


def git(folder, *words):
    identity = ["-c", "user.name=x", "-c", "user.email=x@y"]
    done = subprocess.run(
        ["git", "-C", folder, *identity, *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """The source as a checkout of its own, whose remote has a password."""
    package = tmp_path / "src" / "orchestrator" / "__init__.py"
    package.parent.mkdir(parents=True)
    package.write_text("")
    folder = tmp_path / "src"
    git(folder, "init", "-q")
    git(folder, "remote", "add", "origin", f"https://me:{SECRET}@host/x.git")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "x")
    monkeypatch.setattr(provenance.orchestrator, "__file__", str(package))
    return folder


def here(tmp_path):
    return environment_of(tmp_path, Site(None, None, "cpu", {}, lambda *_: 0), ())


@pytest.mark.parametrize(
    ("change", "dirty"),
    [(None, False), ("orchestrator/__init__.py", True), ("untracked", False)],
)
def test_commit_of_a_checkout_and_whether_it_was_changed(tmp_path, checkout, change, dirty) -> None:
    if change:
        (checkout / change).write_text("changed")
    found = here(tmp_path)
    assert found.commit == git(checkout, "rev-parse", "HEAD")
    assert found.dirty == dirty


def test_a_package_inside_of_another_checkout_has_no_commit_of_it(
    tmp_path, checkout, monkeypatch
) -> None:
    inner = checkout / ".venv" / "orchestrator" / "__init__.py"
    monkeypatch.setattr(provenance.orchestrator, "__file__", str(inner))
    inner.parent.mkdir(parents=True)
    monkeypatch.setattr(provenance, "_installed_commit", lambda: None)
    assert here(tmp_path).commit is None


@pytest.mark.parametrize("git_is", ["missing", "failing"])
def test_without_git_there_is_no_commit_and_no_error(
    tmp_path, checkout, monkeypatch, git_is
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    if git_is == "failing":
        (folder / "git").write_text("#!/bin/sh\nexit 128\n")
        (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(provenance, "_installed_commit", lambda: None)
    assert here(tmp_path).commit is None


def test_nothing_tells_secrets(tmp_path, checkout, monkeypatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert SECRET not in json.dumps(asdict(here(tmp_path)))


def test_inputs_are_the_datasets_and_weights_with_their_digests(tmp_path) -> None:
    weights = build_weights()
    splits = load_splits("digits", None, validation=0.2)
    sweep = spec(train={"weights": "rendered_digits"})
    dataset, model = inputs_of(sweep, {"digits": splits}, None, None)
    assert (dataset.kind, dataset.name, dataset.source) == ("dataset", "digits", "")
    assert dataset.profile == {"classes": 10, "train": 480, "validation": 120, "test": 1197}
    assert (model.kind, model.name) == ("weights", weights.name)
    assert model.digest == hashlib.sha256(weights.read_bytes()).hexdigest()
    config = sweep.finetune_config("digits", {
        "backbone": "proxyless_tiny", "method": "last", "resolution": 24, "batch_size": 4,
    }).model_dump()  # fmt: skip
    assert dataset.is_of(config) and model.is_of(config)


def test_random_weights_are_no_input() -> None:
    assert inputs_of(spec(), {}, None, None) == ()
