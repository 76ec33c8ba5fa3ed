from dataclasses import replace

from orchestrator.spec import load_spec
from tinytl.backbones import BACKBONES


def test_given_in_both_params_and_train(write, problems, small):
    text = small.replace("epochs: 2", "epochs: 2, learning_rate: 1e-3")
    found = problems(write(text))
    assert found == ["params.learning_rate: is given in train too; remove one of the two"]


def test_own_dataset_needs_its_place(base, tmp_path, problems, monkeypatch):
    own = "datasets=[my_flowers]"
    assert load_spec(base, [own], data=tmp_path).datasets == ["my_flowers"]
    monkeypatch.setenv("TINYTL_DATA", str(tmp_path / "data"))
    (problem,) = problems(base, own)
    assert problem.startswith("datasets: unknown dataset 'my_flowers': choose one of ")
    assert problem.endswith(
        f"; for own images put my_flowers/ or my_flowers.zip into {tmp_path}/data, or give their "
        "place with --data DIR"
    )
    (tmp_path / "data" / "my_flowers" / "rose").mkdir(parents=True)
    assert load_spec(base, [own]).datasets == ["my_flowers"]


def test_grid_with_validation_zero_may_use_the_test_images(base, problems):
    overrides = ["search={sampler: grid}", "train.validation=0", "learning_rate=1e-3"]
    spec = load_spec(base, [*overrides, "objectives={test_accuracy: max, peak_bytes: min}"])
    assert spec.objectives == {"test_accuracy": "max", "peak_bytes": "min"}
    assert "there is none with validation 0" in problems(base, *overrides)[0]
    with_validation = [*overrides, "train.validation=0.1", "objectives={test_accuracy: max}"]
    assert "must not see the test images" in problems(base, *with_validation)[0]


def test_norm_must_be_one_that_the_backbone_has(base, monkeypatch, problems):
    info = replace(BACKBONES["proxyless_mobile"], norms=("bn_frozen",))
    monkeypatch.setitem(BACKBONES, "proxyless_mobile", info)
    for override, path in (("norm=gn_ws", "params.norm"), ("train.norm=gn_ws", "train.norm")):
        expected = f"{path}: 'gn_ws' is not available for proxyless_mobile: choose one of bn_frozen"
        assert problems(base, override) == [expected]


def test_frozen_weights_need_layers_that_store_them(base, problems):
    *_, problem = problems(base, "frozen_weights.bits=4", "method=full")
    assert problem.startswith("params.frozen_weights: no method of this sweep (full) leaves")
    (problem,) = problems(base, "frozen_weights.bits=4", "execution=[plain, saving]")
    assert problem.startswith("params.execution: must be saving or planned with frozen_weights")


def test_planned_steps_need_a_method_that_they_take(base, problems):
    planned = ["execution=[saving, planned]", "max_slowdown=2", "lite_residual=null"]
    (problem,) = problems(base, *planned, "method=[full, full+checkpointing]")
    assert problem == (
        "params.execution: planned does not take the method full+checkpointing: it recomputes "
        "every block itself; choose method: full with a memory_budget"
    )
    assert load_spec(base, [*planned, "method=[full, last]"])


def test_one_archive_is_one_dataset(base, problems, tmp_path):
    archive = tmp_path / "images.zip"
    archive.touch()
    assert load_spec(base, ["datasets=[digits, cars]"], data=archive).datasets == ["digits", "cars"]
    (problem,) = problems(base, "datasets=[digits, cars, mine]", data=archive)
    assert problem.startswith(f"datasets: cars, mine cannot all be the one archive {archive}")
