import importlib
import random
from pathlib import Path

import pytest

from orchestrator.fronts.pareto import METRICS
from orchestrator.spec import load_spec
from orchestrator.spec.file import shipped_names
from orchestrator.spec.space import Choice, Fixed, Range
from tinytl.backbones import BACKBONES
from tinytl.data import DATASETS
from tinytl.methods import METHODS

NOT_A_SWEEP = [
    ("", "a sweep file must be a mapping of its keys, but got None"),
    ("- 1", "a sweep file must be a mapping of its keys, but got [1]"),
    ("name: [a", "line 1"),
    ("name: a\nname: b", "line 2: the key 'name' is given twice"),
    ("params: {a: 1, a: 2}", "the key 'a' is given twice"),
    ("params: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
    ("a: &a [*a]", "unknown key 'a'"),
]


@pytest.mark.parametrize(("text", "sentence"), NOT_A_SWEEP)
def test_not_a_sweep_file(write, text, sentence, problems):
    assert sentence in "\n".join(problems(write(text)))


@pytest.mark.parametrize("name", ["flower102", "no/such/file.yaml", "digits.yml", ""])
def test_missing_file_lists_what_is_shipped(name, tmp_path, monkeypatch, problems):
    monkeypatch.chdir(tmp_path)
    (problem,) = problems(name)
    assert repr(name) in problem
    assert all(shipped in problem for shipped in shipped_names())


def test_binary_file(tmp_path, problems):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"\x80\x02\xff\xfe")
    assert "not a text file" in problems(str(path))[0]


OVERRIDES = [
    ("resolution=[32, 48]", "backbone=proxyless_tiny", {"resolution": Choice((32, 48))}),
    ("params.batch_size=4", "", {"batch_size": Fixed(4)}),
    ("learning_rate=2e-4", "", {"learning_rate": Fixed(2e-4)}),
    ("learning_rate.high=1e-2", "", {"learning_rate": Range(1e-4, 1e-2, log=True)}),
    ("lite_residual.groups=2", "", {"lite_residual.groups": Fixed(2)}),
    ("lite_residual.width.0=1", "", {"lite_residual.width.0": Fixed(1.0)}),
    (
        "lite_residual.width=2",
        "lite_residual.width.5=[0, 1]",
        {"lite_residual.width.4": Fixed(2.0), "lite_residual.width.5": Choice((0.0, 1.0))},
    ),
    (
        "lite_residual.width={stages: [1, 1, 0, 1, 2, 1]}",
        "lite_residual.width.2=0.5",
        {"lite_residual.width.2": Fixed(0.5), "lite_residual.width.4": Fixed(2.0)},
    ),
    ("epochs=[2, 4]", "", {"epochs": Choice((2, 4))}),
    ("norm=", "", {"norm": Fixed(None)}),
]


@pytest.mark.parametrize(("first", "second", "domains"), OVERRIDES)
def test_overrides(base, first, second, domains):
    spec = load_spec(base, [text for text in (first, second) if text])
    assert {name: spec.space.domain(name) for name in domains} == domains


def test_overrides_of_sections(base):
    overrides = ["search.sampler=tpe", "limits.peak_bytes=64MB", "tracking.uri=http://h:1"]
    spec = load_spec(base, [*overrides, "name=b"], trials=9)
    assert (spec.search.sampler, spec.search.trials) == ("tpe", 9)
    assert (spec.limits.peak_bytes, spec.tracking.uri, spec.name) == (64_000_000, "http://h:1", "b")


def test_null_removes_what_has_keys_of_its_own(base):
    assert "lite_residual" in load_spec(base).params
    spec = load_spec(base, ["method=[last, full]", "lite_residual=null"])
    assert "lite_residual" not in spec.params
    assert not any("lite_residual" in parameter.name for parameter in spec.space.parameters)


def test_a_parameter_moves_between_train_and_params(base):
    spec = load_spec(base, ["epochs=7"])
    assert "epochs" not in spec.train
    assert spec.params["epochs"] == 7
    back = load_spec(base, ["epochs=7", "train.epochs=9", "train.learning_rate=1e-3"])
    assert back.train["epochs"] == 9
    assert not {"epochs", "learning_rate"} & set(back.params)


ROUND_TRIPS = [[], ["name=1e5x"], ["tracking.experiment='1e5'"], ["lite_residual.width.0=[0, 2]"]]


@pytest.mark.parametrize("overrides", [*ROUND_TRIPS, *([a] for a, b, _ in OVERRIDES if not b)])
def test_resolved_file_says_the_same(base, write, overrides):
    spec = load_spec(base, overrides)
    again = load_spec(write(spec.resolved_yaml(), "resolved.yaml"))
    assert again == spec
    assert again.space == spec.space
    assert again.resolved_yaml() == spec.resolved_yaml()


@pytest.mark.parametrize("name", shipped_names())
def test_shipped_sweep_files(name, write):
    spec = load_spec(name)
    assert spec.name == name.replace("/", "_")
    assert load_spec(write(spec.resolved_yaml())) == spec
    assert set(spec.datasets) <= set(DATASETS)
    assert set(spec.objectives) <= set(METRICS)
    rng = random.Random(0)
    for _ in range(100):
        params = spec.space.sample(rng)
        config = spec.finetune_config(spec.datasets[0], params)
        assert config.method in METHODS
        modules = METHODS[config.method].uses_lite_residual
        assert (config.lite_residual is not None) == modules
        if modules and isinstance(config.lite_residual.width, tuple):
            assert len(config.lite_residual.width) == BACKBONES[config.backbone].stages


def test_all_shipped_files_are_tested():
    folder = Path(importlib.import_module("search_spaces").__file__).parent
    paths = {path.relative_to(folder).with_suffix("") for path in folder.rglob("*.y*ml")}
    assert {path.as_posix() for path in paths} == set(shipped_names())
    assert {"digits", "cifar10_proxyless_w0.25", "flowers102"} <= set(shipped_names())
