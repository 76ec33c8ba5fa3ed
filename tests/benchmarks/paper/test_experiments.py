"""What holds for every experiment, and the experiments that are sweeps, run for real."""

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from benchmarks.paper.claims import Claim, load_claims
from benchmarks.paper.comparison import compare, studies
from benchmarks.paper.experiments import EXPERIMENTS, accuracy, find_experiment, smoke
from benchmarks.paper.experiments.base import FAIL, NOT_RUN, PASS, Experiment, Place, Scale
from benchmarks.paper.experiments.sweeps import FOLDER, overridden
from benchmarks.paper.results import Cell, Results
from orchestrator.record.saved import read_sweep
from orchestrator.spec import SweepSpec
from tinytl.data import DATASETS
from tinytl.errors import ConfigError, TinyTLError
from tinytl.methods import METHODS, PAPER_METHODS

CLAIMS = load_claims()
ACCURACIES = [claim for claim in CLAIMS if claim.experiment == accuracy.NAME]
SWEEPS = [
    cell
    for experiment in (EXPERIMENTS[smoke.NAME], EXPERIMENTS[accuracy.NAME])
    for cell in experiment.all_cells(CLAIMS)
]


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=list(EXPERIMENTS))
def test_conformance(experiment: Experiment, tmp_path: Path) -> None:
    assert find_experiment(experiment.name) is experiment
    assert experiment.about
    cells = experiment.all_cells(CLAIMS)
    assert len({cell.name for cell in cells}) == len(cells)
    assert {cell.name for scale in Scale for cell in experiment.cells(CLAIMS, scale)} == {
        cell.name for cell in cells
    }
    for cell in cells:
        assert json.loads(json.dumps(cell.settings)) == cell.settings
        assert "/" not in cell.name and " " not in cell.name
    claims = [claim for claim in CLAIMS if claim.experiment == experiment.name]
    assert bool(claims) == (experiment.compare is not None)
    for claim in claims:
        assert experiment.compare is not None
        row = experiment.compare(claim, Results(tmp_path))
        assert (row.claim, row.state, row.ours) == (claim, NOT_RUN, None)
        assert experiment.name in row.command
        words = row.command.split(";")[0].split()
        only = words[words.index("--only") + 1]
        assert any(only in (cell.name, cell.group) for cell in cells)


def test_an_unknown_experiment_is_told() -> None:
    with pytest.raises(ConfigError, match="did you mean 'paper-smoke'"):
        find_experiment("paper-smok")


@pytest.mark.parametrize("cell", SWEEPS, ids=[cell.name for cell in SWEEPS])
def test_every_sweep_is_valid(cell: Cell, tmp_path: Path) -> None:
    spec = SweepSpec.parse(cell.settings["sweep"], data=tmp_path)
    assert spec.search.sampler == "grid"
    assert list(spec.objectives) == ["test_accuracy", "peak_bytes"]


@pytest.mark.parametrize("name", smoke.study_files())
def test_a_study_trains_all_methods_with_three_seeds(name: str, tmp_path: Path) -> None:
    file = smoke.study_files()[name]
    assert file.column in ("", *DATASETS)
    for scale in file.scales:
        cell = smoke.cell_of(name, scale)
        spec = SweepSpec.parse(cell.settings["sweep"], data=tmp_path)
        found = [(p["method"], p["resolution"], p["seed"]) for p in spec.space.grid()]
        assert {method for method, _, _ in found} == {*METHODS}
        expected = len(spec.values("resolution")) * len(METHODS) * 3
        assert len(found) == len(set(found)) == expected
        recipe = spec.finetune_config(spec.datasets[0], next(iter(spec.space.grid())))
        assert (recipe.optimizer, recipe.batch_size, recipe.validation) == ("adam", 8, 0)


def test_studies_on_photographs_have_at_least_96_pixels(tmp_path: Path) -> None:
    for name in ("cifar10", "grocery-81"):
        for scale in smoke.study_files()[name].scales:
            spec = SweepSpec.parse(smoke.cell_of(name, scale).settings["sweep"], data=tmp_path)
            assert min(spec.values("resolution")) >= 96


def test_the_full_scale_is_the_recipe() -> None:
    for claim in ACCURACIES:
        spec = SweepSpec.parse(accuracy.cell_of(claim).settings["sweep"])
        (config,) = {
            spec.finetune_config(claim.column, {k: v for k, v in params.items() if k != "seed"})
            for params in spec.space.grid()
            if params["method"] == claim.settings["method"]
        }
        assert (config.epochs, config.train_images, config.eval_images) == (50, None, None)


def place(tmp_path: Path, data: Path | None = None) -> Place:
    console = Console(file=io.StringIO())
    return Place(tmp_path / "out" / smoke.NAME, console, data, backend="local")


def cut(cell: Cell, *overrides: str) -> Cell:
    """The cell with a smaller sweep."""
    raw = overridden(cell.settings["sweep"], overrides)
    return replace(cell, settings={**cell.settings, "sweep": raw})


def digits_cell() -> Cell:
    return cut(
        smoke.cell_of("digits", Scale.smoke), "method=[last, full]", "lite_residual=null",
        "sparse_update=null",
        "resolution=32", "train.train_images=16", "train.eval_images=20", "search.seeds=2",
        "train.weights=random",
    )  # fmt: skip


def run(cell: Cell, where: Place) -> Mapping[str, Any]:
    return EXPERIMENTS[smoke.NAME].run(cell, where)


@pytest.mark.integration
def test_a_sweep_is_run_read_and_not_run_again(tmp_path: Path) -> None:
    cell, where = digits_cell(), place(tmp_path)
    numbers = run(cell, where)
    (directory,) = (where.directory / FOLDER).iterdir()
    assert numbers["directory"] == directory.name
    points = read_sweep(directory).snapshot().points["digits"]
    assert [row["params"]["method"] for row in numbers["rows"]] == ["last", "full"]
    for row in numbers["rows"]:
        mine = [point for point in points if point.params["method"] == row["params"]["method"]]
        assert row["seeds"] == [0, 1] == [point.params["seed"] for point in mine]
        for name, values in row["metrics"].items():
            assert values == [point.values[name] for point in mine]
    assert EXPERIMENTS[smoke.NAME].in_words(numbers) == "2 configurations, 4 trials"
    events = (directory / "trials.jsonl").read_bytes()
    assert run(cell, where) == numbers
    assert (directory / "trials.jsonl").read_bytes() == events
    run(cut(cell, "search.seeds=1"), where)  # other settings are another sweep
    assert len(list((where.directory / FOLDER).iterdir())) == 2


@pytest.mark.integration
def test_a_stopped_sweep_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.paper.experiments import sweeps
    from benchmarks.paper.experiments.base import StoppedError

    cell, where = cut(digits_cell(), "method=last"), place(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.launch._run_backend", interrupt)
        with pytest.raises(StoppedError):
            sweeps.run_sweep(cell, where)
    assert len(run(cell, where)["rows"][0]["seeds"]) == 2


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def write_images(folder: Path, size: int = 16) -> None:
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("one", "two"):
            (folder / part / name).mkdir(parents=True)
            for index in range(4):
                pixels = rng.integers(256, size=(size, size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{index}.png")


TINY = (
    "backbone=proxyless_tiny", "train.weights=random", "resolution=32", "train.train_images=8",
    "train.eval_images=8", "train.epochs=1", "search.seeds=1", "method=last",
)  # fmt: skip


@pytest.mark.integration
@pytest.mark.parametrize("name", ["cifar10", "cifar10-subset.zip"])
def test_another_archive_takes_the_place_of_a_dataset(name: str, tmp_path: Path) -> None:
    import shutil

    data = tmp_path / "data"
    write_images(data / name.removesuffix(".zip"))
    if name.endswith(".zip"):
        folder = data / name.removesuffix(".zip")
        shutil.make_archive(str(folder), "zip", folder)
        shutil.rmtree(folder)
    unused = ("lite_residual=null", "sparse_update=null")
    cell = cut(smoke.cell_of("cifar10", Scale.cpu), *TINY, *unused)
    numbers = run(cell, place(tmp_path, data))
    assert len(numbers["rows"]) == 1


def test_what_is_missing_is_told_and_reported(tmp_path: Path) -> None:
    out, data = tmp_path / "out", tmp_path / "data"
    write_images(data / "pets")
    cell = smoke.cell_of("grocery-81", Scale.cpu)
    with pytest.raises(TinyTLError) as caught:
        run(cell, place(tmp_path, data))
    assert "grocery-81" in str(caught.value)
    results = Results(out / smoke.NAME)
    results.write_problem(cell, str(caught.value))
    (study,) = (study for study in studies(CLAIMS, out) if study.cell.group == "grocery-81")
    assert (study.trained, study.why) == ({}, str(caught.value))


def claim_of(row: str, column: str) -> Claim:
    return next(c for c in ACCURACIES if (c.table, c.row, c.column) == ("Table 2", row, column))


@pytest.mark.integration
def test_an_accuracy_is_run_with_its_recipe_and_compared(tmp_path: Path) -> None:
    claim, data = claim_of("FT-Last", "cifar10"), tmp_path / "data"
    write_images(data / "cifar10")
    numbers = run(cut(accuracy.cell_of(claim), *TINY, "norm=gn_ws"), place(tmp_path, data))
    (row,) = numbers["rows"]
    assert row["params"]["learning_rate"] == 3e-4  # the recipe's


ACCURATE = [([0.859, 0.862, 0.851], PASS), ([0.82, 0.81], FAIL), ([0.855], PASS)]


@pytest.mark.parametrize(("values", "state"), ACCURATE)
def test_the_mean_of_the_seeds_is_held_against_the_paper(
    values: list[float], state: str, tmp_path: Path
) -> None:
    claim = claim_of("FT-Last", "cifar10")  # 85.9
    results = Results(tmp_path / accuracy.NAME)
    metrics = {"test_accuracy": values, "peak_bytes": [64_000_000] * len(values)}
    rows = [{"params": {}, "seeds": list(range(len(values))), "metrics": metrics}]
    results.write(accuracy.cell_of(claim), {"directory": "d", "rows": rows}, {"commit": "c"})
    (row,) = (row for row in compare(CLAIMS, tmp_path) if row.claim == claim)
    assert (row.state, row.ours) == (state, pytest.approx(100 * fmean(values)))
    deviation = 100 * stdev(values) if len(values) > 1 else None
    assert row.deviation == (None if deviation is None else pytest.approx(deviation))
    assert row.measured == {"saving": {"peak_bytes": 64_000_000}}


@pytest.mark.parametrize("scale", [Scale.smoke, Scale.cpu])
def test_what_is_cut_down_is_no_reproduction(scale: Scale, tmp_path: Path) -> None:
    claim = claim_of("FT-Last", "cifar10")
    results, cell = Results(tmp_path / accuracy.NAME), accuracy.cell_of(claim, scale)
    results.write(cell, {"directory": "d", "rows": []}, {})
    assert accuracy.compare(claim, results).state == NOT_RUN
    results.write_problem(cell, "no weights")
    assert accuracy.compare(claim, results).why == "no weights"


def test_a_study_is_laid_beside_its_column_at_its_largest_scale(tmp_path: Path) -> None:
    results = Results(tmp_path / smoke.NAME)
    for scale, share in ((Scale.cpu, 0.5), (Scale.full, 0.6)):
        rows = [
            {
                "params": {"method": method, "resolution": 96},
                "seeds": [0, 1],
                "metrics": {"test_accuracy": [share, share + 0.02], "peak_bytes": [10, 10]},
            }
            for method in PAPER_METHODS
        ]
        numbers = {"directory": scale.value, "rows": rows}
        results.write(smoke.cell_of("cifar10", scale), numbers, {})
    (study,) = (s for s in studies(CLAIMS, tmp_path) if s.cell.group == "cifar10")
    (trained,) = study.trained.values()
    papers = {c.row: c.value for c in CLAIMS if (c.table, c.column) == ("Table 2", "cifar10")}
    assert {each.label: each.paper for each in trained} == {
        METHODS[name].label: papers[METHODS[name].label] for name in PAPER_METHODS
    }
    assert [each.paper for each in trained] == sorted(each.paper for each in trained)
    assert (study.cell.name, study.directory) == ("cifar10-full", "paper-smoke/sweeps/full")
    assert trained[0].accuracies == pytest.approx((60, 62))
