"""`tinytl memory`: its numbers are the library's, and a mistake is one sentence."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import main
from tests.specialized import published, put
from tinytl.config import FinetuneConfig
from tinytl.engine.build import build_network
from tinytl.engine.measure import measure
from tinytl.errors import TinyTLError
from tinytl.memory.modeled import modeled_bytes
from tinytl.methods import METHODS

TINY = ["memory", "--backbone", "proxyless_tiny", "--resolution", "32"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line; returns its exit code, and what it printed to stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit:
            main(list(arguments))
        printed = capsys.readouterr()
        return int(exit.value.code or 0), printed.out, printed.err

    return run


def config_of(**changes: Any) -> FinetuneConfig:
    values = {
        "dataset": "any",
        "backbone": "proxyless_tiny",
        "weights": "random",
        "method": "tinytl-lite_residual+bias",
        "resolution": 32,
        "batch_size": 8,
    }
    return FinetuneConfig.parse(values | changes)


@pytest.mark.parametrize("method", METHODS)
def test_modeled_is_the_librarys_count(method: str, run: Run) -> None:
    code, out, _ = run(*TINY, "--method", method, "--json")
    network = build_network(config_of(method=method), 102).network
    assert code == 0
    assert json.loads(out) == {"modeled_bytes": modeled_bytes(network, 32, 8)}


OPTIONS = [
    (["--batch-size", "2"], {"batch_size": 2}),
    (["--resolution", "48"], {"resolution": 48}),
    (["--norm", "bn_frozen"], {"norm": "bn_frozen"}),
    (
        ["--backbone", "mobilenet_v2_0.35", "--resolution", "33"],
        {"backbone": "mobilenet_v2_0.35", "resolution": 33, "norm": "bn_frozen"},
    ),
    (["--execution", "plain"], {"execution": "plain"}),
    (["--optimizer", "sgd"], {"optimizer": "sgd"}),
    (["--width", "2"], {"lite_residual": {"width": 2}}),
    (["--width", "1,0,0.5,2"], {"lite_residual": {"width": (1, 0, 0.5, 2)}}),
    (["--frozen-weights", "scale"], {"frozen_weights": {"storage": "scale"}}),
    (["--bits", "3,4,5,6"], {"frozen_weights": {"bits": (3, 4, 5, 6)}}),
    (
        ["--method", "sparse-update", "--blocks", "3", "--ratio", "0.25"],
        {"method": "sparse-update", "sparse_update": {"blocks": 3, "ratio": 0.25}},
    ),
    (["--groups", "4", "--kernel-size", "3"], {"lite_residual": {"groups": 4, "kernel_size": 3}}),
]


@pytest.mark.parametrize(("options", "changes"), OPTIONS, ids=lambda value: str(value)[:30])
def test_measured_is_the_librarys_and_has_the_split(
    options: list[str], changes: dict, run: Run
) -> None:
    code, out, _ = run(*TINY, *options, "--classes", "10", "--measure", "--json")
    config = config_of(**changes)
    network = build_network(config, 10).network
    modeled = modeled_bytes(network, config.resolution, config.batch_size)
    numbers = json.loads(out)
    assert code == 0
    assert numbers == {"modeled_bytes": modeled, **asdict(measure(network, config))}
    assert {"saved_bytes", "peak_bytes", "activations_bytes", "gradients_bytes"} <= numbers.keys()


def test_modules_can_be_part_of_the_backbone_for_every_method(run: Run) -> None:
    def modeled(*options: str) -> int:
        return json.loads(run(*TINY, "--method", "tinytl-bias", "--json", *options)[1])[
            "modeled_bytes"
        ]

    network = build_network(config_of(method="tinytl-bias"), 102, with_modules=True).network
    assert modeled("--lite-residual") == modeled_bytes(network, 32, 8) > modeled()
    assert modeled("--lite-residual", "--width", "2") > modeled("--lite-residual")


def test_a_specialized_network_is_read_out_of_the_weights(run: Run, tmp_path: Path) -> None:
    put(tmp_path, published())
    arguments = ("memory", "--backbone", "specialized/flowers102", "--resolution", "64", "--json")
    out = run(*arguments, "--weights", str(tmp_path))[1]
    config = config_of(backbone="specialized/flowers102", resolution=64)
    network = build_network(config, 102, weights_directory=tmp_path).network
    assert json.loads(out) == {"modeled_bytes": modeled_bytes(network, 64, 8)}
    code, _, err = run(*arguments)
    assert code == 2
    assert "specialized/flowers102/net.config" in err


def test_without_json_a_table_in_megabytes(run: Run) -> None:
    out = run(*TINY, "--measure")[1]
    numbers = json.loads(run(*TINY, "--measure", "--json")[1])
    assert "proxyless_tiny, tinytl-lite_residual+bias, batch 8, 32 px" in " ".join(out.split())
    sparse = run(*TINY, "--method", "sparse-update", "--blocks", "3")[1]
    assert "sparse-update (blocks 3, ratio 0.5), batch 8" in " ".join(sparse.split())
    shown = {name.strip(): value for name, value in re.findall(r"│ ([a-z ]+?) +│ +([\w.]+) │", out)}
    for name, value in numbers.items():
        text = value if isinstance(value, str) else f"{value / 1e6:.1f}"
        assert shown[name.removesuffix("_bytes").replace("_", " ")] == text


@pytest.mark.real_data
def test_the_references_rows(shared_dir: Any, run: Run) -> None:
    rows = json.loads((shared_dir / "reference" / "memory_modeled.json").read_text())
    for row in rows[:: len(rows) // 3]:
        out = run(
            "memory", "--json", "--lite-residual", "--backbone", "proxyless_mobile",
            "--method", row["method"], "--classes", "102",
            "--resolution", str(row["resolution"]), "--batch-size", str(row["batch_size"]),
        )[1]  # fmt: skip
        expected = pytest.approx(row["memory_cost_bytes"], rel=1e-6)
        assert json.loads(out)["modeled_bytes"] == expected


WRONG = [
    (["--backbone", "proxyless_tinny"], ["unknown backbone 'proxyless_tinny'", "did you mean"]),
    (["--method", "bias"], ["unknown method 'bias'", "choose one of"]),
    (["--resolution", "8"], ["resolution: proxyless_tiny takes images of at least 17 pixels"]),
    (["--batch-size", "0"], ["batch_size: ", "but got 0"]),
    (["--optimizer", "lion"], ["optimizer: ", "'adam', 'adam8bit', 'adamw', 'sgd' or "]),
    (["--width", "wide"], ["lite_residual.width: ", "but got 'wide'"]),
    (["--width", "1,1"], ["lite_residual.width: proxyless_tiny has 4 stages, but got 2 widths"]),
    (["--bits", "9"], ["frozen_weights.bits: ", "less than or equal to 8, but got '9'"]),
    (["--bits", "4,4"], ["frozen_weights.bits: proxyless_tiny has 4 stages, but got 2 values"]),
    (["--bits", "4", "--execution", "plain"], ["frozen_weights: needs execution saving"]),
    (["--kernel-size", "4"], ["lite_residual.kernel_size: ", "1, 3, 5 or 7, but got 4"]),
    (["--groups", "3"], ["lite_residual.groups must divide"]),
    (["--method", "last", "--width", "1"], ["the method last has no lite residual modules"]),
]


@pytest.mark.parametrize(("options", "texts"), WRONG, ids=lambda value: str(value)[:40])
def test_a_mistake_is_one_sentence_and_exit_code_2(
    options: list[str], texts: list[str], run: Run
) -> None:
    code, out, err = run(*TINY, *options)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert all(text in err for text in texts)


def test_every_mistake_has_its_line(run: Run) -> None:
    code, _, err = run("memory", "--method", "bias", "--backbone", "tiny")
    assert code == 2
    assert [line.split()[1] for line in err.splitlines()] == ["method:", "backbone:"]


@pytest.mark.parametrize("options", [["--norm", "bn"], ["--classes", "0"], ["--speed"]], ids=str)
def test_a_wrong_option_is_the_command_lines_own_error(options: list[str], run: Run) -> None:
    code, _, err = run(*TINY, *options)
    assert code == 2
    assert options[0] in err
    assert "Traceback" not in err


@pytest.mark.parametrize("place", ["before", "behind"])
def test_debug_shows_where_an_error_was_raised(place: str) -> None:
    arguments = [*TINY, "--method", "bias"]
    arguments = ["--debug", *arguments] if place == "before" else [*arguments, "--debug"]
    with pytest.raises(TinyTLError, match="unknown method"):
        main(arguments)


@pytest.mark.integration
def test_the_process_prints_a_traceback_only_with_debug() -> None:
    command = [sys.executable, "-m", "orchestrator.cli", *TINY, "--method", "bias"]
    plain, debug = (
        subprocess.run([*command, *more], capture_output=True, text=True)
        for more in ([], ["--debug"])
    )
    assert plain.returncode == 2
    assert plain.stderr.startswith("error: method: unknown method 'bias'")
    assert "Traceback" not in plain.stderr
    assert debug.returncode != 0
    assert "Traceback" in debug.stderr
