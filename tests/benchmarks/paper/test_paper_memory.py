"""The experiment `paper-memory`: its cells, their numbers, and how they are kept."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.paper import results
from benchmarks.paper.claims import Claim, load_claims
from benchmarks.paper.comparison import compare
from benchmarks.paper.experiments import memory
from benchmarks.paper.experiments.base import FAIL, NOT_RUN, NOT_YET, PASS, Scale
from benchmarks.paper.experiments.memory import cells, cells_of, run
from benchmarks.paper.results import Cell, Results
from tinytl.backbones import BACKBONES
from tinytl.config import FinetuneConfig
from tinytl.engine.build import build_network
from tinytl.engine.measure import measure
from tinytl.memory.modeled import modeled_bytes
from tinytl.methods import METHODS, PAPER_METHODS

CLAIMS = load_claims()
ALL = cells(CLAIMS)
TINY = {
    "backbone": "proxyless_tiny", "method": "tinytl-bias", "resolution": 32, "batch_size": 2,
    "classes": 10, "norm": "gn_ws",
}  # fmt: skip
# a row that one's own count is not within the tolerance of: the reference's own is not, either
NOT_REPRODUCED = {"Table 3, FT-Last, Inception-V3, memory"}


def tiny(execution: str, **changes: Any) -> Cell:
    found = {cell.settings["cell"]: cell for cell in cells_of({**TINY, **changes})}
    return found[execution]


def test_every_memory_claim_has_its_cells() -> None:
    groups = {cell.group for cell in ALL}
    claims = [claim for claim in CLAIMS if claim.experiment == memory.NAME]
    assert {memory.group_of(claim.settings) for claim in claims} <= groups
    assert {memory.group_of(claim.beside) for claim in claims if claim.beside} <= groups
    measured = {memory.group_of(claim.settings) for claim in claims if not claim.beside}
    for group in groups:
        executions = {cell.settings["cell"] for cell in ALL if cell.group == group}
        expected = {"modeled", "plain", "saving"} if group in measured else {"modeled"}
        assert executions - {"planned"} == expected


def test_a_name_stands_for_one_configuration() -> None:
    networks = [
        network
        for claim in CLAIMS
        if claim.experiment == memory.NAME
        for network in filter(None, (claim.settings, claim.beside))
    ]
    configurations = {json.dumps(network, sort_keys=True) for network in networks}
    assert len(configurations) == len({memory.group_of(network) for network in networks})


def test_each_plan_belongs_to_a_figure_of_the_paper() -> None:
    planned = [cell for cell in ALL if cell.settings["cell"] == "planned"]
    assert len(planned) == len(memory.PLANNED) == 3


SHAPES = set(product(PAPER_METHODS, (96, 128, 160, 192, 224, 256, 288, 320), (1, 8)))
SCALES = [
    (Scale.smoke, lambda s: s["cell"] == "modeled" or s["batch_size"] * s["resolution"] ** 2 < 2e5),
    (Scale.cpu, lambda s: True),
]


@pytest.mark.parametrize(("scale", "runs"), SCALES)
def test_a_scale_is_a_part_of_the_claims_cells(
    scale: Scale, runs: Callable[[dict[str, Any]], bool]
) -> None:
    expected = [cell.name for cell in ALL if runs(dict(cell.settings))]
    assert [cell.name for cell in cells(CLAIMS, scale)] == expected


def test_the_full_scale_has_every_shape() -> None:
    full = cells(CLAIMS, Scale.full)
    proxyless = [c.settings for c in full if c.settings["backbone"] == "proxyless_mobile"]
    assert {(s["method"], s["resolution"], s["batch_size"]) for s in proxyless} == SHAPES
    assert {cell.name for cell in ALL} < {cell.name for cell in full}


@pytest.mark.parametrize("method", METHODS)
def test_the_numbers_are_those_of_the_library(method: str) -> None:
    config = FinetuneConfig.parse(
        {
            **{key: value for key, value in TINY.items() if key != "classes"},
            "dataset": "any",
            "weights": "random",
            "method": method,
        }
    )
    modeled = run(tiny("modeled", method=method))
    network = build_network(config, 10).network
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in network.parameters() if not p.requires_grad)
    assert modeled["modeled_bytes"] == modeled_bytes(network, 32, 2)
    assert (modeled["trained_parameters"], modeled["parameters"]) == (trained, trained + frozen)
    twice = run(tiny("modeled", method=method, batch_size=4))
    assert twice["activation_bytes"] == 2 * modeled["activation_bytes"]
    assert modeled["activation_bytes"] == twice["modeled_bytes"] - modeled["modeled_bytes"]
    measured = run(tiny("saving", method=method))
    assert measured["peak_bytes"] == measure(network, config).peak_bytes
    assert run(tiny("plain", method=method))["peak_bytes"] >= measured["peak_bytes"]


@pytest.mark.integration
@pytest.mark.real_data
def test_the_counts_are_the_references(shared_dir: Path) -> None:
    rows = json.loads((shared_dir / "reference" / "memory_modeled.json").read_text())
    reference = {(r["method"], r["resolution"], r["batch_size"]): r for r in rows}
    compared = 0
    for cell in ALL:
        shape = tuple(cell.settings[key] for key in ("method", "resolution", "batch_size"))
        if cell.settings["cell"] != "modeled" or cell.settings["backbone"] != "proxyless_mobile":
            continue
        if row := reference.get(shape):
            found = run(cell)
            assert found["modeled_bytes"] == pytest.approx(row["memory_cost_bytes"], rel=1e-6)
            assert found["trained_parameters"] == row["trainable_parameters"]
            compared += 1
    assert compared == 37  # 5 methods at 6 resolutions, one more at 224 px, 6 of batch 1


@pytest.mark.integration
def test_the_papers_memory_is_reproduced(tmp_path: Path) -> None:
    kept = Results(tmp_path / memory.NAME)
    for cell in ALL:
        if cell.settings["cell"] == "modeled":
            kept.write(cell, run(cell), {})
    rows = compare(CLAIMS, tmp_path)
    assert {row.claim.name for row in rows if row.state == FAIL} == NOT_REPRODUCED
    for row in rows:
        assert (row.state in (PASS, FAIL)) == (row.claim.experiment == memory.NAME)
        assert (row.state == NOT_YET) == bool(row.claim.not_yet)


def test_ratios_are_those_of_networks_counted_by_themselves() -> None:
    with torch.device("meta"):
        networks = [
            BACKBONES[name].build("bn_frozen", 1000, 0.0)
            for name in ("mobilenet_v2_1.4", "resnet50")
        ]
    parameters = [sum(p.numel() for p in network.parameters()) for network in networks]
    one, two = ([modeled_bytes(network, 224, n) for network in networks] for n in (1, 2))
    expected = {
        "parameters_ratio": parameters[1] / parameters[0],
        "activations_ratio": (two[1] - one[1]) / (two[0] - one[0]),
    }
    for claim in CLAIMS:
        if claim.quantity in expected:
            ours, beside = (
                run(next(iter(cells_of(settings)))) for settings in (claim.settings, claim.beside)
            )
            value = memory.value_of(claim, ours, beside)
            assert value == pytest.approx(expected.pop(claim.quantity), rel=1e-9)
    assert not expected


CELL = Cell("a", "a", {"resolution": 32})
CHANGES: dict[str, Callable[[pytest.MonkeyPatch], Cell]] = {
    "configuration": lambda patch: replace(CELL, settings={"resolution": 64}),
    "source": lambda patch: patch.setattr(results, "library_digest", lambda: "other") or CELL,
    "version": lambda patch: patch.setattr(results, "version", lambda name: "9.9") or CELL,
    "threads": lambda patch: patch.setattr(torch, "get_num_threads", lambda: 99) or CELL,
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_result_is_outdated_when_it_changes(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Results(tmp_path / "new")
    assert (kept.find(CELL), kept.state(CELL)) == (None, "missing")
    kept.write(CELL, {"peak_bytes": 1}, {"commit": "c"})
    found = kept.find(CELL)
    assert found is not None and found["numbers"] == {"peak_bytes": 1}
    assert (found["provenance"], kept.state(CELL)) == ({"commit": "c"}, "done")
    cell = CHANGES[what](monkeypatch)
    assert (kept.find(cell), kept.state(cell)) == (None, "outdated")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", b"\xff"])
def test_a_file_that_is_no_result_is_missing(content: str | bytes, tmp_path: Path) -> None:
    kept = Results(tmp_path)
    data = content if isinstance(content, bytes) else content.encode()
    kept.path(CELL).write_bytes(data)
    assert (kept.find(CELL), kept.state(CELL)) == (None, "missing")


def test_rows_without_results_are_not_run(tmp_path: Path) -> None:
    def expected(claim: Claim) -> str:
        return NOT_RUN if claim.experiment else NOT_YET

    rows = compare(CLAIMS, tmp_path)
    assert [row.state for row in rows] == [expected(row.claim) for row in rows]


def test_where_it_was_found_is_told(tmp_path: Path) -> None:
    told = results.origin(tmp_path)
    assert told["packages"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert {"when", "commit", "uncommitted_changes", "processor", "device"} <= told.keys()
