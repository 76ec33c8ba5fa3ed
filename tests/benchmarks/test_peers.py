"""The benchmark beside what people use instead: all compute the same, and each saves something."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._inductor import config as inductor_config

from benchmarks.systems import memory, peers
from benchmarks.systems.memory_peers import (
    Change,
    checkpoint_blocks,
    compile_within,
    leave,
    select_what_is_kept,
)
from benchmarks.systems.peers import (
    CASES,
    PLAIN_NAME,
    Case,
    Contender,
    difference,
    exact_gradients,
    main,
    run,
    start,
)
from tinytl.config import FinetuneConfig
from tinytl.memory.measured import StepMemory, measure_step

SMALL: dict[str, Any] = peers.SETTINGS | {
    "backbone": "proxyless_tiny",
    "resolution": 40,
    "batch_size": 4,
}
NETS: dict[str, dict[str, Any]] = {
    "full": {"method": "full"},
    "L+B": {"method": "tinytl-lite_residual+bias"},
    "bias": {"method": "tinytl-bias", "norm": "bn_frozen", "backbone": "mobilenet_v2_0.35"},
}
EACH_NET = pytest.mark.parametrize("net", NETS.values(), ids=NETS)
CHANGES: dict[str, Change] = {
    "checkpoint": checkpoint_blocks,
    "selective": select_what_is_kept,
}


def config_of(net: dict[str, Any], **others: Any) -> FinetuneConfig:
    return FinetuneConfig.parse({**SMALL, **net, **others})


def doubled(change: Change) -> Change:
    """The change of a network in float64."""
    return lambda network: change(network.double())


def measured(contender: Contender) -> StepMemory:
    return measure_step(
        contender.step,
        network=contender.network,
        optimizer=contender.optimizer,
        inputs=contender.batch,
    )


@EACH_NET
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_peer_has_plain_pytorchs_gradients(change: Change, net: dict[str, Any]) -> None:
    plain = exact_gradients(config_of(net))
    found = start(config_of(net), doubled(change)).gradients
    assert list(found) == list(plain)
    assert min(float(gradient.norm()) for gradient in plain.values()) > 0, "each says something"
    largest = difference(found, plain)
    assert largest < 1e-10


@EACH_NET
def test_a_peer_keeps_less(net: dict[str, Any]) -> None:
    changes = leave, checkpoint_blocks, select_what_is_kept
    plain, checkpointed, selected = (measured(start(config_of(net), each)) for each in changes)
    assert checkpointed.peak_bytes < plain.peak_bytes
    assert checkpointed.saved_bytes < 0.5 * plain.saved_bytes
    assert selected.saved_bytes < plain.saved_bytes


@pytest.mark.integration
def test_a_budget_is_kept_and_changes_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    # what is kept is decided as ever, but no C++ is compiled, which takes minutes
    backend = torch._dynamo.lookup_backend("aot_eager_decomp_partition")
    monkeypatch.setattr(torch._dynamo, "lookup_backend", lambda name: backend)
    torch.compiler.reset()
    config = config_of(NETS["L+B"])
    exact = exact_gradients(config)
    least, half = (start(config, doubled(compile_within(budget))) for budget in (0, 0.5))
    assert max(difference(each.gradients, exact) for each in (least, half)) < 1e-10
    plain = start(config, doubled(leave))
    saved = [measured(each).saved_bytes for each in (least, half, plain)]
    assert saved == sorted(set(saved))


def test_a_difference_is_seen() -> None:
    one = {"a": torch.ones(4), "b": torch.ones(4)}
    assert difference(one, one) == 0
    assert difference(one | {"b": torch.full((4,), 1.1)}, one) == pytest.approx(0.1)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "SETTINGS", SMALL)
    changes = {PLAIN_NAME: leave, "checkpoint": checkpoint_blocks}
    monkeypatch.setattr(peers, "PEERS", changes)


STORED = {"execution": "planned", "max_slowdown": 100, "frozen_weights": {"storage": "scale"}}


@pytest.mark.integration
def test_ours_with_stored_weights_is_compared_with_the_same_weights(small: None) -> None:
    rows = run(Case("small", NETS["L+B"], {"ours, 8 bits": STORED}), repeats=1)
    assert list(rows) == [PLAIN_NAME, "checkpoint", "ours, 8 bits"]
    assert rows[PLAIN_NAME]["ratio"] == 1
    assert all(0 < row["gradient_difference"] < 1e-3 for row in rows.values())
    assert rows["ours, 8 bits"]["peak_bytes"] < rows[PLAIN_NAME]["peak_bytes"]


@pytest.mark.integration
def test_who_cannot_run_says_why(
    small: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(peers, "PEERS", {PLAIN_NAME: leave, "compiled": compile_within(0)})
    case = Case("small", NETS["full"], {"ours, 1 MB": memory.planned("1MB")})
    monkeypatch.setattr(peers, "CASES", {"one": case})
    files = ["--json", str(tmp_path / "found.json"), "--png", str(tmp_path / "found.png")]
    monkeypatch.setattr(sys, "argv", ["", "--repeats", "1", *files])
    with inductor_config.patch({"cpp.cxx": ("no-compiler",)}):
        assert main() == 0
    printed = capsys.readouterr().out
    assert "compiled: InvalidCxxCompiler: No working C++ compiler found" in printed
    assert "ours, 1 MB: " in printed
    written = json.loads((tmp_path / "found.json").read_text())
    assert set(written["cases"]["small"]) == {PLAIN_NAME, "compiled", "ours, 1 MB"}
    assert written["provenance"]["packages"]["torch"]
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.integration
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled_steps_are_those_of_the_network() -> None:
    def made() -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())

    input = torch.randn(2, 3, 16, 16)
    found = []
    for change in (leave, compile_within(0)):
        network = made()
        change(network)  # type: ignore[arg-type]
        network(input).square().mean().backward()
        found.append({name: p.grad for name, p in network.named_parameters()})
    largest = difference(found[1], found[0])
    assert largest < 1e-5


@pytest.mark.parametrize("name", CASES)
def test_cases_are_configurations(name: str) -> None:
    case = CASES[name]
    for own in case.ours.values():
        assert FinetuneConfig.parse({**peers.SETTINGS, **case.net, **own}).batch_size == 8
