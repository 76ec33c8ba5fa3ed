"""A sweep's weights are there and fit before its first trial."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from orchestrator.inputs.prepare import networks_of
from orchestrator.inputs.weights import prepare_weights
from orchestrator.spec import SweepSpec
from tinytl.backbones import BACKBONES
from tinytl.backbones.weights import WEIGHTS, weights_info

NAME = "proxyless_w0.25"


def spec(**params: Any) -> SweepSpec:
    return SweepSpec.parse(
        {
            "name": "demo",
            "datasets": ["digits"],
            "objectives": {"val_accuracy": "max", "peak_bytes": "min"},
            "params": {"backbone": NAME, "method": "last", "resolution": 64, "batch_size": 8}
            | params,
            "train": {"epochs": 1, "weights": "imagenet"},
            "search": {"trials": 1},
        }
    )


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weights file of a thousand classes that no address has."""
    monkeypatch.setenv("TINYTL_CACHE", str(tmp_path / "cache"))
    info = replace(weights_info("imagenet", NAME), urls=("http://127.0.0.1:9/file",), digest=None)
    monkeypatch.setitem(WEIGHTS["imagenet"], NAME, (info,))
    path = tmp_path / "weights" / info.file
    path.parent.mkdir()
    torch.save(BACKBONES[NAME].build("bn_frozen", 1000, 0.0).state_dict(), path)
    return path


def prepared(spec: SweepSpec, directory: Path | None, classes: list[int]) -> tuple[list[str], str]:
    """Returns the problems, and what was printed."""
    output = io.StringIO()
    console = Console(file=output, width=200)
    problems = prepare_weights(networks_of(spec), directory, classes, console)
    return problems, output.getvalue()


def test_a_new_classifier_is_said_once(file: Path) -> None:
    assert prepared(spec(), file.parent, [1000]) == ([], "")
    problems, output = prepared(spec(), file.parent, [10, 10, 1000])
    assert not problems
    assert output == (
        f"{NAME}: the imagenet weights know other classes, so that trials start with a new "
        "classifier\n"
    )


def test_what_cannot_be_had_is_one_problem_for_each_file(file: Path) -> None:
    problems, _ = prepared(spec(backbone=[NAME, "mobilenet_v2_1.4"]), None, [10])
    assert len(problems) == 2
    assert f"put the file {file.name} into a directory" in problems[0]
    assert "no weights 'imagenet' for backbone 'mobilenet_v2_1.4'" in problems[1]


def test_what_does_not_fit_is_a_problem_before_the_first_trial(file: Path) -> None:
    torch.save(BACKBONES[NAME].build("gn_ws", 1000, 0.0).state_dict(), file)
    problems, _ = prepared(spec(), file.parent, [])
    assert len(problems) == 1
    assert "was made for another network" in problems[0]


def test_a_missing_file_is_downloaded_and_its_place_told(
    file: Path, host: str, host_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = replace(weights_info("imagenet", NAME), urls=(f"{host}/{file.name}",))
    monkeypatch.setitem(WEIGHTS["imagenet"], NAME, (info,))
    file.rename(host_directory / file.name)
    problems, output = prepared(spec(), None, [1000])
    assert not problems
    assert output.startswith("downloaded ")
    assert output.rstrip().endswith(file.name)
    assert prepared(spec(), None, [1000]) == ([], "")


def test_random_weights_need_nothing() -> None:
    random = SweepSpec.parse({**spec().model_dump(), "train": {"weights": "random"}})
    assert prepared(random, None, [10]) == ([], "")
