"""Every run tells how to run it again, by what the process that ran it noted."""

import json
import shlex
from dataclasses import replace

from orchestrator.record import Asked, Reported, Told
from orchestrator.record.environment import Environment, Input, note_environment
from tests.tracked import BEGAN, HOSTILE, OBJECTIVES, by_name, client_of, content, mirror, story

DATASET = Input("dataset", "a", "ab" * 32, "", {"classes": 10, "train": 5}, {"dataset": "a"})
OTHER = replace(DATASET, name="b", of={"dataset": "b"})
WEIGHTS = Input(
    "weights", "x.pth", "cd" * 32, "https://host/x.pth", {"bytes": 5}, {"weights": "imagenet"}
)
FIRST = Environment(
    directory="/runs/a sweep", data="/data", weights=None, system="Linux 6 x86_64", device="a cpu",
    versions={"python": "3.11", "torch": "2.11"}, commit="c0ffee", dirty=True,
    inputs=(DATASET, OTHER, WEIGHTS),
)  # fmt: skip
SECOND = replace(FIRST, device="a gpu", commit=None, versions={"python": "3.12"})
FIXED = {"weights": "imagenet", "epochs": 3, "lite_residual.width.0": 1, "lite_residual.groups": 2}


def configure(asked):
    return {"dataset": asked.study, **FIXED}


def test_runs_tell_how_to_run_them_again(record) -> None:
    note_environment(record.directory, FIRST)
    mirror(record, story("a", 2), configure=configure, limits={"peak_bytes": 6e7})
    runs = by_name(client_of(record.directory))
    study, trial = runs["a"].data.tags, runs["a-1"].data.tags
    assert json.loads(study["tinytl.objectives"]) == OBJECTIVES
    assert json.loads(study["tinytl.limits"]) == {"peak_bytes": 6e7}
    assert study["tinytl.directory"] == "/runs/a sweep"
    assert shlex.split(study["tinytl.show"]) == ["tinytl", "ui", "/runs/a sweep"]
    assert shlex.split(study["tinytl.resume"]) == [
        "tinytl", "sweep", "/runs/a sweep/sweep.yaml", "--out", "/runs/a sweep", "--resume",
        "--data", "/data",
    ]  # fmt: skip
    assert shlex.split(trial["tinytl.rerun"]) == [
        "tinytl", "train", "--from", "/runs/a sweep:a-1", "--data", "/data",
    ]  # fmt: skip
    assert {key: trial[key] for key in trial if key.startswith("tinytl.version")} == {
        "tinytl.version.python": "3.11", "tinytl.version.torch": "2.11",
    }  # fmt: skip
    assert (trial["tinytl.device"], trial["tinytl.system"]) == ("a cpu", "Linux 6 x86_64")
    for tags in (study, trial):
        assert (tags["tinytl.commit"], tags["tinytl.dirty"]) == ("c0ffee", "true")
        assert tags["mlflow.source.git.commit"] == "c0ffee"


def test_datasets_and_weights_are_inputs_of_the_trials_that_use_them(record) -> None:
    note_environment(record.directory, FIRST)
    mirror(record, story("a", 2) + story("b", 1), configure=configure)
    runs = by_name(client_of(record.directory))
    for trial, names in {"a-0": {"a", "x.pth"}, "b-0": {"b", "x.pth"}, "a": set()}.items():
        found = {each.dataset.name: each for each in runs[trial].inputs.dataset_inputs}
        assert set(found) == names
    weights = found_of(runs["a-1"])["x.pth"]
    assert json.loads(weights.profile)["sha256"] == "cd" * 32
    assert ("cd" * 32).startswith(weights.digest)
    assert json.loads(weights.source) == {"url": "https://host/x.pth"}


def test_params_are_all_settings_each_once(record) -> None:
    params = {"method": "last", "lite_residual.width": [1, 2], "epochs": 5}
    mirror(record, [Asked("a-0", "a", 0, params, time=BEGAN)], configure=configure)
    found = by_name(client_of(record.directory))["a-0"].data.params
    assert found == {
        "method": "last", "lite_residual.width": "[1, 2]", "epochs": "5",
        "dataset": "a", "weights": "imagenet", "lite_residual.groups": "2",
    }  # fmt: skip


def test_what_a_trial_ran_on_is_what_its_last_process_noted(record) -> None:
    """Uploaded later, or by another machine, or again: it is the same."""
    note_environment(record.directory, FIRST)
    for event in story("a", 3, unfinished=[1, 2]):
        record.append(event)
    note_environment(record.directory, SECOND)
    end = {"val_accuracy": 0.9, "peak_bytes": 1}
    last = [
        Reported("a-1", 4, {}, time=BEGAN + 900),
        Told("a-1", "complete", end, time=BEGAN + 9e2),
    ]
    mirror(record, last, configure=configure)
    runs = by_name(client_of(record.directory))
    devices = {name: run.data.tags.get("tinytl.device") for name, run in runs.items()}
    assert devices == {"a": None, "a-0": "a cpu", "a-1": "a gpu", "a-2": "a cpu"}
    before = everything(record.directory)
    (record.directory / "mlflow.cursor").unlink()
    mirror(record, configure=configure)
    assert everything(record.directory) == before


def test_a_sweep_whose_environment_nobody_noted_has_the_commands(record) -> None:
    mirror(record, story("a", 1), configure=configure)
    tags = by_name(client_of(record.directory))["a-0"].data.tags
    assert tags["tinytl.rerun"] == f"tinytl train --from {record.directory}:a-0"
    assert not {"tinytl.device", "tinytl.commit"} & set(tags)


def test_hostile_environment_is_text(record) -> None:
    hostile = replace(DATASET, name=HOSTILE * 30, source=HOSTILE, profile={HOSTILE: HOSTILE}, of={})
    environment = replace(
        FIRST, directory=HOSTILE, data=HOSTILE * 200, device=HOSTILE, inputs=(hostile,)
    )
    note_environment(record.directory, environment)
    mirror(record, story("a", 1), configure=lambda asked: {HOSTILE: HOSTILE})
    mirror(record)
    run = by_name(client_of(record.directory))["a-0"]
    assert "DROP TABLE" in run.data.tags["tinytl.device"]
    assert len(run.data.tags["tinytl.rerun"]) == 8000
    (found,) = found_of(run).values()
    assert len(found.name) == 500 and HOSTILE[:20] in found.name


def found_of(run):
    return {each.dataset.name: each.dataset for each in run.inputs.dataset_inputs}


def everything(directory):
    runs = by_name(client_of(directory)).values()
    inputs = {run.info.run_name: sorted(map(str, found_of(run))) for run in runs}
    return content(directory), inputs
