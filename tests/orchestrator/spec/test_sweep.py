import random

import pytest

from orchestrator.spec import SweepSpec, load_spec
from orchestrator.spec.space import Choice, Fixed, Range
from tinytl.backbones import BACKBONES
from tinytl.config import FinetuneConfig
from tinytl.methods import METHODS


def test_every_form(write, small):
    spec = load_spec(write(small))
    domain = spec.space.domain
    assert domain("backbone") == Fixed("proxyless_mobile")
    assert domain("resolution") == Choice((128, 224))
    assert domain("learning_rate") == Range(1e-4, 3e-3, log=True)
    assert domain("lite_residual.groups") == Choice((2, 4))
    widths = [p.name for p in spec.space.parameters if "width" in p.name]
    assert widths == [f"lite_residual.width.{stage}" for stage in range(6)]
    assert (spec.search.seed, spec.search.trials, spec.search.sampler) == (3, 5, "random")


WIDTHS = [
    ("1", {"lite_residual.width": Fixed(1.0)}),
    ("[0, 1]", {"lite_residual.width": Choice((0.0, 1.0))}),
    ("{low: 0, high: 2}", {"lite_residual.width": Range(0.0, 2.0)}),
    (
        "{per_stage: [0, 0.5, 1, 2]}",
        {f"lite_residual.width.{i}": Choice((0.0, 0.5, 1.0, 2.0)) for i in range(6)},
    ),
    (
        "{per_stage: {low: 0, high: 2, step: 1}}",
        {f"lite_residual.width.{i}": Range(0.0, 2.0, step=1.0) for i in range(6)},
    ),
    (
        "{stages: [1, 1, 0, 1, 2, 1]}",
        {f"lite_residual.width.{i}": Fixed(float(w)) for i, w in enumerate([1, 1, 0, 1, 2, 1])},
    ),
    (
        "{per_stage: 1, 2: [0, 2]}",
        {
            f"lite_residual.width.{i}": Choice((0.0, 2.0)) if i == 2 else Fixed(1.0)
            for i in range(6)
        },
    ),
]


@pytest.mark.parametrize(("form", "domains"), WIDTHS)
def test_forms_of_the_width(base, form, domains):
    spec = load_spec(base, [f"lite_residual.width={form}"])
    found = {p.name: p.domain for p in spec.space.parameters if "width" in p.name}
    assert found == domains


BITS = [
    ("8", {"frozen_weights.bits": Fixed(8)}),
    ("[4, 8]", {"frozen_weights.bits": Choice((4, 8))}),
    ("{low: 2, high: 8}", {"frozen_weights.bits": Range(2, 8)}),
    ("{per_stage: [4, 6, 8]}", {f"frozen_weights.bits.{i}": Choice((4, 6, 8)) for i in range(6)}),
    (
        "{stages: [8, 7, 6, 5, 4, 3]}",
        {f"frozen_weights.bits.{i}": Fixed(8 - i) for i in range(6)},
    ),
]


@pytest.mark.parametrize(("form", "domains"), BITS)
def test_forms_of_the_bits(base, form, domains):
    spec = load_spec(
        base, ["frozen_weights.storage=[kmeans, scale]", f"frozen_weights.bits={form}"]
    )
    assert spec.space.domain("frozen_weights.storage") == Choice(("kmeans", "scale"))
    assert {p.name: p.domain for p in spec.space.parameters if ".bits" in p.name} == domains
    params = spec.space.sample(random.Random(0))
    config = spec.finetune_config("digits", params).frozen_weights
    expected = tuple(params[name] for name in domains)
    assert config.bits == (expected if len(expected) > 1 else expected[0])


def test_bits_belong_to_trials_with_frozen_weights(base):
    methods = "method=[tinytl-lite_residual, last, full]"
    spec = load_spec(base, [methods, "frozen_weights.bits=[4, 8]"])
    for params in (spec.space.sample(random.Random(seed)) for seed in range(20)):
        assert ("frozen_weights.bits" in params) is (params["method"] != "full")


def test_sparse_update_belongs_to_trials_of_its_method(base):
    methods = "method=[tinytl-lite_residual, sparse-update]"
    section = "sparse_update={blocks: {low: 1, high: 20}, ratio: [1, 0.5, 0.125]}"
    spec = load_spec(base, [methods, section])
    assert spec.space.domain("sparse_update.blocks") == Range(1, 20)
    for params in (spec.space.sample(random.Random(seed)) for seed in range(20)):
        update = spec.finetune_config("digits", params).sparse_update
        if params["method"] == "sparse-update":
            assert update.blocks == params["sparse_update.blocks"] <= 20
            assert update.ratio == params["sparse_update.ratio"] in (1, 0.5, 0.125)
        else:
            assert update is None


def test_sparse_update_needs_its_method_and_enough_blocks(base, problems):
    (problem,) = problems(base, "sparse_update.blocks=2")
    assert problem.startswith("params.sparse_update: no method of this sweep (last, tinytl-lite")
    assert problem.endswith("add sparse-update to params.method")
    sparse = ["method=sparse-update", "lite_residual=null", "backbone=[mnasnet, proxyless_tiny]"]
    for blocks in ("[2, 9]", "{low: 2, high: 9}", "9"):
        found = problems(base, *sparse, f"sparse_update.blocks={blocks}")
        assert found == ["params.sparse_update.blocks: proxyless_tiny has 8 blocks, but got 9"]


RATES = {"last": 4e-3, "tinytl-lite_residual": 1e-3}


@pytest.mark.parametrize("sampler", ["grid", "random", "nsga2", "memory_aware"])
def test_learning_rate_by_method(base, sampler):
    trials = "null" if sampler == "grid" else "5"
    overrides = [f"learning_rate={{by_method: {RATES}}}", f"search.sampler={sampler}"]
    spec = load_spec(base, [*overrides, f"search.trials={trials}"])
    assert not any(p.name == "learning_rate" for p in spec.space.searched)
    assert {params["method"]: params["learning_rate"] for params in spec.space.grid()} == RATES
    assert all(spec.space.contains(params) for params in spec.space.grid())
    for seed in range(10):
        params = spec.space.sample(random.Random(seed))
        assert spec.finetune_config("digits", params).learning_rate == RATES[params["method"]]
    only = load_spec(base, [*overrides, "search.trials=5", "method=last", "lite_residual=null"])
    assert {params["learning_rate"] for params in only.space.grid()} == {4e-3}


BROKEN = [
    # a value for each method
    (
        "learning_rate={by_method: {last: 1}}",
        "params.learning_rate.by_method.tinytl-lite_residual: required, but missing",
    ),
    (
        "learning_rate={by_method: {last: 1, tinytl-lite_residual: 1, lst: 1}}",
        "params.learning_rate.by_method: unknown method 'lst'",
    ),
    ("learning_rate={by_method: [1]}", "params.learning_rate.by_method: must be a mapping"),
    ("learning_rate={by_method: {last: 1}, low: 1}", "by_method: must be a mapping of methods to"),
    (
        "learning_rate={by_method: {last: -1, tinytl-lite_residual: 1}}",
        "params.learning_rate.by_method.last: input should be greater than 0",
    ),
    # unknown keys
    ("serch.trials=3", "params: unknown parameter 'serch'"),
    ("resolutoin=[32]", "did you mean 'resolution'?"),
    ("search.smapler=gp", "search: unknown key 'smapler': choose one of halving, sampler"),
    ("search.smapler=gp", "did you mean 'sampler'?"),
    ("limits.memory=3", "limits: unknown key 'memory': choose one of hours, peak_bytes"),
    ("train.epoch=3", "train: unknown setting 'epoch'"),
    ("lite_residual.wdth=3", "params.lite_residual: unknown key 'wdth'"),
    ("learning_rate.hihg=3", "params.learning_rate: unknown key 'hihg'"),
    ("objectives.accuracy=max", "objectives: unknown metric 'accuracy': choose one of"),
    ("backbone=proxyless_mobil", "params.backbone: unknown backbone 'proxyless_mobil'"),
    ("method=[last, tinytl]", "params.method.1: unknown method 'tinytl'"),
    ("search.sampler=cmaes", "search.sampler: input should be 'memory_aware', 'nsga2'"),
    ("datasets=[digit]", "datasets: unknown dataset 'digit'"),
    ("dataset=digits", "params: unknown parameter 'dataset'"),
    ("seed=1", "params: unknown parameter 'seed'"),
    # wrong types and values
    ("resolution=big", "params.resolution: input should be a valid integer, but got 'big'"),
    ("resolution=[128, '64']", "params.resolution.1: input should be a valid integer"),
    ("resolution=[128, 4096]", "params.resolution.1: input should be less than or equal to 1024"),
    ("batch_size=true", "params.batch_size: input should be a valid integer, but got True"),
    ("batch_size=0", "params.batch_size: input should be greater than or equal to 1, but got 0"),
    ("batch_size=[[1]]", "params.batch_size.0: input should be a valid integer, but got [1]"),
    ("search.trials=0", "search.trials: input should be greater than or equal to 1"),
    ("search.trials='9'", "search.trials: input should be a valid integer"),
    ("search=nsga2", "search: must be a mapping, but got 'nsga2'"),
    ("lite_residual=1", "params.lite_residual: must be a mapping of width, groups"),
    ("lite_residual.width=-1", "params.lite_residual.width: input should be greater than"),
    ("lite_residual.kernel_size=4", "params.lite_residual.kernel_size: input should be 1, 3, 5"),
    ("datasets=digits", "datasets: input should be a valid list, but got 'digits'"),
    ("name=a/b", "name: string should match pattern"),
    ("name=3", "name: input should be a valid string, but got 3"),
    ("objectives.peak_bytes=low", "objectives.peak_bytes: input should be 'max' or 'min'"),
    ("objectives.peak_bytes=max", "objectives.peak_bytes: must be min, but got 'max'"),
    # empty and doubled
    ("resolution=[]", "params.resolution: a list of choices must hold at least one value"),
    ("lite_residual.width={per_stage: []}", "params.lite_residual.width.0: a list of choices must"),
    ("datasets=[]", "datasets: list should have at least 1 item"),
    ("objectives={}", "objectives: dictionary should have at least 1 item"),
    ("batch_size=[4, 4]", "params.batch_size: choices must differ from each other"),
    ("datasets=[digits, digits]", "datasets: must differ from each other"),
    ("objectives=", "objectives: required, but missing"),
    # ranges
    (
        "learning_rate={low: 0.1, high: 0.01}",
        "params.learning_rate: `low <= high` must hold, but got (low=0.1, high=0.01)",
    ),
    (
        "dropout={low: 0, high: 0.5, log: true}",
        "params.dropout: `low > 0` must hold for a logarithmic range, but got (low=0.0)",
    ),
    ("dropout={low: 0}", "params.dropout.high: required, but missing"),
    ("dropout={low: 0, high: 2}", "params.dropout.high: input should be less than 1, but got 2"),
    ("dropout={low: 0, high: 0.5, step: 0}", "params.dropout.step: must be a number greater than"),
    ("batch_size={low: 1, high: 8, step: 0.5}", "batch_size.step: must be a whole number greater"),
    ("learning_rate.step=0.1", "params.learning_rate: a range has a step or is logarithmic"),
    ("learning_rate.log=3", "params.learning_rate.log: must be true or false, but got 3"),
    ("crop_scale={low: null, high: 0.5}", "params.crop_scale: bounds must be numbers"),
    ("epochs={low: 1, high: 9000000}", "params.epochs: a range must hold at most 100000 values"),
    ("dropout={low: 0, high: 0.5, step: 1e-9}", "params.dropout: a range must hold at most"),
    ("optimizer={low: 1, high: 3}", "params.optimizer: a range needs a parameter that takes any"),
    ("lite_residual.kernel_size={low: 3, high: 5}", "kernel_size: a range needs a parameter"),
    # combinations
    ("method=last", "params.lite_residual: no method of this sweep (last) has lite residual"),
    ("lite_residual.width={stages: [1, 1]}", "must have one entry for each stage, but got 2"),
    ("lite_residual.width={stages: 1}", "params.lite_residual.width.stages: must be a list"),
    ("lite_residual.width.6=1", "params.lite_residual.width.6: unknown stage; the stages of"),
    ("lite_residual.width={0: 1}", "params.lite_residual.width.1: required, but missing"),
    (
        "frozen_weights.bits=1",
        "params.frozen_weights.bits: input should be greater than or equal to 2",
    ),
    (
        "frozen_weights.bits={per_stage: [9]}",
        "params.frozen_weights.bits.0.0: input should be less",
    ),
    ("frozen_weights.bits={stages: [4]}", "params.frozen_weights.bits.stages: must have one entry"),
    ("frozen_weights.bit=4", "params.frozen_weights: unknown key 'bit'"),
    ("frozen_weights=4", "params.frozen_weights: must be a mapping of storage, bits, but got 4"),
    ("sparse_update.block=4", "params.sparse_update: unknown key 'block'"),
    ("sparse_update.ratio=0.3", "params.sparse_update.ratio: input should be 1, 0.5, 0.25 or"),
    ("sparse_update.ratio={low: 0.5, high: 1}", "ratio: a range needs a parameter that takes any"),
    ("sparse_update.blocks=0", "sparse_update.blocks: input should be greater than or equal to 1"),
    ("resolution=[8, 224]", "params.resolution: must be at least"),
    ("resolution={low: 8, high: 224}", "params.resolution: must be at least"),
    ("train.validation=0", "train.validation: must be greater than 0 with sampler random"),
    ("validation=[0, 0.1]", "params.validation: must be one value"),
    ("validation={low: 0.1, high: 0.2}", "params.validation: must be one value"),
    ("eval_images=[100, 200]", "params.eval_images: must be one value"),
    ("objectives.test_accuracy=max", "objectives.test_accuracy: the search must not see the test"),
    ("search.trials=", "search.trials: required with sampler random, but missing"),
    ("search.seeds=3", "search.seeds: must be 1 with sampler random, but got 3"),
    (
        "search.sampler=grid",
        "params.learning_rate: sampler grid needs finitely many values, but got the range "
        "(low=0.0001, high=0.003)",
    ),
    ("train.epochs=[1, 2]", "train.epochs: must be one value, but got [1, 2]; search it in params"),
    ("train.method=last", "train.method: belongs in params; move it there"),
    # limits
    ("limits.peak_bytes=64 apples", "limits.peak_bytes: must be whole bytes: a number, or a text"),
    ("limits.peak_bytes=0.5B", "limits.peak_bytes: must be whole bytes"),
    ("limits.peak_bytes=1.2.3MB", "limits.peak_bytes: must be whole bytes"),
    ("limits.peak_bytes=0", "limits.peak_bytes: input should be greater than 0, but got 0"),
    ("limits.hours=0", "limits.hours: input should be greater than 0, but got 0"),
    ("limits.hours=-2", "limits.hours: input should be greater than 0, but got -2"),
    ("limits.hours=.inf", "limits.hours: input should be a finite number"),
    # overrides themselves
    ("resolution", "'resolution': an override must be key=value"),
    ("=3", "'=3': an override must be key=value"),
    ("batch_size.low=3", "'batch_size.low=3': 8 has no entry 'low'; set it as a whole"),
    ("resolution.0=3", "'resolution.0=3': [128, 224] has no entry 0; set it as a whole"),
    ("resolution=[1", "'resolution=[1'"),
]


@pytest.mark.parametrize(("override", "sentence"), BROKEN)
def test_broken_rule(base, override, sentence, problems):
    found = problems(base, override)
    assert any(sentence in problem for problem in found), found


# a second problem that the one override causes as well
CASCADES = {
    "method=last",
    "train.method=last",
    "lite_residual.width={per_stage: []}",
    "frozen_weights.bits={per_stage: [9]}",
    *(override for override, _ in BROKEN if override.startswith("sparse_update.")),
}


@pytest.mark.parametrize("override", sorted({o for o, _ in BROKEN} - CASCADES))
def test_one_mistake_is_one_problem(base, override, problems):
    expected = 5 if override == "lite_residual.width={0: 1}" else 1
    assert len(problems(base, override)) == expected


def test_all_problems_at_once(base, problems):
    overrides = [
        "name=a b",
        "datasets=[nowhere]",
        "objectives.accuracy=max",
        "resolution=[]",
        "method=lst",
        "lite_residual.groups=0",
        "train.epochs=0",
        "search.trials=",
        "limits.hours=0",
        "tracking.port=3",
    ]
    found = problems(base, *overrides)
    assert len(found) == len(overrides)
    parts = [problem.partition(":")[0] for problem in found]
    assert parts == [
        "name", "limits.hours", "tracking", "params.method", "params.resolution",
        "params.lite_residual.groups", "train.epochs", "datasets", "objectives", "search.trials",
    ]  # fmt: skip


@pytest.mark.parametrize("key", ["name", "datasets", "objectives", "params"])
def test_missing_section(write, key, problems, small):
    lines = [line for line in small.splitlines() if not line.startswith(key)]
    text = "\n".join(line for line in lines if key != "params" or not line.startswith(" "))
    assert f"{key}: required, but missing" in problems(write(text))


@pytest.mark.parametrize("key", ["backbone", "method", "resolution", "batch_size"])
def test_missing_parameter(write, key, problems, small):
    text = "\n".join(line for line in small.splitlines() if not line.startswith(f"  {key}:"))
    assert f"params.{key}: required, but missing" in problems(write(text))


def test_seeds_multiply_the_grid(base):
    overrides = ["search={sampler: grid, seed: 5}", "learning_rate=1e-3"]
    once = load_spec(base, overrides)
    thrice = load_spec(base, [*overrides, "search.seeds=3"])
    assert once.space.size() == 2 * (1 + 2**6 * 2)
    assert thrice.space.size() == 3 * once.space.size()
    first = next(thrice.space.grid())
    assert thrice.finetune_config("digits", first).seed == 5
    assert {params["seed"] for params in thrice.space.grid()} == {5, 6, 7}
    assert once.finetune_config("digits", next(once.space.grid())).seed == 5


def test_stages_follow_the_backbone(base, problems):
    overrides = ["backbone=[proxyless_mobile, proxyless_tiny]", "resolution=224"]
    spec = load_spec(base, overrides)
    rng = random.Random(0)
    for _ in range(50):
        params = spec.space.sample(rng)
        widths = [name for name in params if "width" in name]
        modules = METHODS[params["method"]].uses_lite_residual
        assert len(widths) == (BACKBONES[params["backbone"]].stages if modules else 0)
    listed = [*overrides, "lite_residual.width={stages: [1, 1, 1, 1, 1, 1]}"]
    assert "proxyless_tiny are 0 to 3" in problems(base, *listed)[0]


def test_settings_of_a_trial(base):
    spec = load_spec(base, ["lite_residual.width.3=0.5"])
    pick = {
        "method": "tinytl-lite_residual",
        "resolution": 224,
        "learning_rate": 2e-4,
        "lite_residual.groups": 4,
    }
    params = spec.space.walk(lambda name, domain: pick.get(name, 1.0))
    config = spec.finetune_config("digits", params)
    assert config == FinetuneConfig(
        dataset="digits",
        backbone="proxyless_mobile",
        method="tinytl-lite_residual",
        resolution=224,
        batch_size=8,
        learning_rate=2e-4,
        epochs=2,
        validation=0.1,
        seed=3,
        lite_residual={"width": (1, 1, 1, 0.5, 1, 1), "groups": 4},
    )
    last = spec.space.walk(lambda name, domain: (pick | {"method": "last"})[name])
    assert spec.finetune_config("digits", last).lite_residual is None


def test_a_spec_cannot_be_changed(base):
    spec = load_spec(base)
    with pytest.raises(ValueError, match="frozen"):
        spec.name = "other"
    assert SweepSpec.model_validate(spec.model_dump()) == spec


def test_values_of_a_setting(base):
    spec = load_spec(base)
    assert tuple(spec.values("resolution")) == (128, 224)
    assert tuple(spec.values("epochs")) == (2,)
    assert tuple(spec.values("execution")) == (FinetuneConfig.model_fields["execution"].default,)
    assert tuple(spec.values("learning_rate")) == ()
