"""The meter, against a second meter that counts malloc, against sums by hand, and itself."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tinytl.backbones import Network
from tinytl.checkpoint import read_tensors
from tinytl.config import FinetuneConfig
from tinytl.engine.build import build_network
from tinytl.engine.measure import measure
from tinytl.engine.step import make_optimizer, training_step
from tinytl.finetune import CHECKPOINT, finetune
from tinytl.memory.measured import StepMemory, inference_bytes, measure_step
from tinytl.methods import METHODS
from tinytl.nn.partial import PartialConv2d
from tinytl.nn.quantized import Quantized

HERE = Path(__file__).parent
CASES = [(method, execution) for method in METHODS for execution in ("plain", "saving")]
NORMALIZATION = 2 * 3 * 4  # bytes of the input's mean and deviation
EACH_CASE = pytest.mark.parametrize(("method", "execution"), CASES)


def config_of(method: str, execution: str, **changes: object) -> FinetuneConfig:
    values = {
        "dataset": "digits",
        "backbone": "proxyless_tiny",
        "weights": "random",
        "method": method,
        "execution": execution,
        "resolution": 96,
        "batch_size": 8,
    }
    return FinetuneConfig.parse(values | changes)


def network_of(config: FinetuneConfig, classes: int = 10) -> Network:
    return build_network(config, classes).network


def images_of(count: int, side: int) -> Tensor:
    return torch.randint(256, (count, 3, side, side), dtype=torch.uint8)


@pytest.fixture(scope="module")
def measured() -> dict[tuple[str, str], StepMemory]:
    """The memory of each case."""
    configs = {case: config_of(*case) for case in CASES}
    return {case: measure(network_of(config), config) for case, config in configs.items()}


# --- against a count of malloc ---

SMALL = config_of("tinytl-lite_residual+bias", "saving", resolution=33, batch_size=1)
STORED = config_of("tinytl-lite_residual+bias", "saving", frozen_weights={"bits": 4})
PLANNED = [
    config_of(method, "planned", max_slowdown=slowdown)
    for method, info in METHODS.items()
    if not info.unplanned
    for slowdown in (1, 100)
]
# oneDNN takes some blocks past torch's allocator, for the weight gradient of the modules' group
# convolution; they do not grow with the batch, so small steps show them
SCRATCH_BYTES = 500_000
COUNTED = [*(config_of(*case) for case in CASES), *PLANNED, STORED, SMALL]


@pytest.fixture(scope="module")
def malloc_peaks(tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    """The peak above what was there before the step, for each of `COUNTED`, by counting malloc."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler and glibc to count malloc")
    library = tmp_path_factory.mktemp("meter") / "malloc_meter.so"
    source = HERE / "malloc_meter.c"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
    configs = [config.model_dump() for config in COUNTED]
    done = subprocess.run(
        [sys.executable, HERE / "malloc_meter.py", json.dumps(configs)],
        env={**os.environ, "LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def above_resident(memory: StepMemory) -> int:
    return memory.activations_bytes + memory.gradients_bytes + memory.transient_bytes


@pytest.mark.parametrize("index", range(len(CASES)), ids=map("-".join, CASES))
def test_peak_is_what_malloc_gave_out(
    index: int, measured: dict[tuple[str, str], StepMemory], malloc_peaks: list[int]
) -> None:
    ours = above_resident(measured[CASES[index]])
    assert ours == pytest.approx(malloc_peaks[index], rel=0.01)


@pytest.mark.parametrize("index", range(len(PLANNED)))
def test_the_peak_of_a_planned_step_is_what_malloc_gave_out(
    index: int, malloc_peaks: list[int]
) -> None:
    ours = above_resident(measure(network_of(PLANNED[index]), PLANNED[index]))
    missed = malloc_peaks[len(CASES) + index] - ours
    # on processors with AMX that scratch is 0.3 MB, much beside a step as small as this
    assert -0.05 * ours < missed < max(0.05 * ours, SCRATCH_BYTES)


def test_all_that_the_meter_misses_is_a_little_scratch_of_the_kernel_library(
    malloc_peaks: list[int],
) -> None:
    missed = malloc_peaks[-1] - above_resident(measure(network_of(SMALL), SMALL))
    assert -50_000 < missed < SCRATCH_BYTES


def test_weights_stored_as_codes_are_dense_for_a_moment_only(
    measured: dict[tuple[str, str], StepMemory], malloc_peaks: list[int]
) -> None:
    whole, memory = measured[STORED.method, "saving"], measure(network_of(STORED), STORED)
    assert above_resident(memory) == pytest.approx(malloc_peaks[-2], rel=0.01)
    layers = [m for m in network_of(STORED).modules() if isinstance(m, Quantized)]
    dense = [4 * layer.shape.numel() for layer in layers]
    stored = [-(-layer.shape.numel() // 2) + 16 * 4 for layer in layers]  # codes and codebook
    assert memory.buffers_bytes == NORMALIZATION + sum(stored)
    assert memory.parameters_bytes == whole.parameters_bytes - sum(dense)
    assert memory.saved_bytes == whole.saved_bytes
    # a weight, its codes, a byte each, and what standardizes it
    at_once = 4 * max(dense)
    assert memory.peak_bytes <= whole.peak_bytes - sum(dense) + sum(stored) + at_once


# --- against sums by hand ---


@EACH_CASE
def test_resident_bytes_are_the_sums_by_hand(
    method: str, execution: str, measured: dict[tuple[str, str], StepMemory]
) -> None:
    network = network_of(config_of(method, execution))
    trained = [p for p in network.parameters() if p.requires_grad]
    memory = measured[method, execution]
    assert memory.parameters_bytes == sum(
        p.numel() * p.element_size() for p in network.parameters()
    )
    # GroupNorm has none
    orders = sum(8 * m.in_channels for m in network.modules() if isinstance(m, PartialConv2d))
    assert memory.buffers_bytes == NORMALIZATION + orders
    # Adam: two moments, and a counter, a float each, for every trained tensor
    assert memory.optimizer_bytes == sum(8 * p.numel() + 4 for p in trained)
    assert memory.input_bytes == 8 * (3 * 96 * 96 + 8)


OPTIMIZERS = [("sgd", 0), ("sgd_momentum", 4), ("adamw", 8)]


@pytest.mark.parametrize(("optimizer", "bytes_per_weight"), OPTIMIZERS)
def test_optimizer_state_and_buffers_are_counted(optimizer: str, bytes_per_weight: int) -> None:
    config = config_of("last", "saving", optimizer=optimizer, norm="bn_frozen", resolution=33)
    network = network_of(config)
    memory = measure(network, config)
    weight, bias = network.classifier.weight, network.classifier.bias
    counters = 8 if optimizer == "adamw" else 0
    expected = bytes_per_weight * (weight.numel() + bias.numel()) + counters
    assert memory.optimizer_bytes == expected
    assert memory.buffers_bytes == sum(b.numel() * b.element_size() for b in network.buffers()) > 0


@EACH_CASE
def test_the_parts_sum_to_the_peak(
    method: str, execution: str, measured: dict[tuple[str, str], StepMemory]
) -> None:
    parts = asdict(measured[method, execution])
    parts.pop("peak_at")
    peak, saved = parts.pop("peak_bytes"), parts.pop("saved_bytes")
    assert sum(parts.values()) == peak
    assert all(value >= 0 for value in parts.values())
    # at the peak no more can be alive than was ever kept
    assert parts["activations_bytes"] <= saved


@EACH_CASE
def test_saved_bytes_are_the_storages_that_the_graph_holds(
    method: str, execution: str, measured: dict[tuple[str, str], StepMemory]
) -> None:
    network = network_of(config_of(method, execution))
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    labels = torch.randint(10, (8,))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        F.cross_entropy(network(images_of(8, 96)), labels)
    for own in (*network.parameters(), *network.buffers()):
        kept.pop(own.untyped_storage()._cdata, None)
    by_hand = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    assert measured[method, execution].saved_bytes == by_hand


# --- regressions ---

# what autograd keeps of proxyless_tiny, batch 8 at 96 px: exact, on any device
SAVED_BYTES = {
    "last": (6_532, 6_532),
    "bn+last": (31_931_844, 11_467_684),
    "tinytl-bias": (31_931_844, 10_287_908),
    "tinytl-lite_residual": (18_280_292, 6_867_820),
    "tinytl-lite_residual+bias": (33_473_348, 11_287_596),
    "full": (33_100_676, 23_273_380),
    "full+checkpointing": (6_550_532, 5_090_052),
    "sparse-update": (16_822_436, 6_368_100),
}


@pytest.mark.parametrize("method", METHODS)
def test_saved_bytes_stay_what_they_were(
    method: str, measured: dict[tuple[str, str], StepMemory]
) -> None:
    plain, saving = measured[method, "plain"], measured[method, "saving"]
    assert (plain.saved_bytes, saving.saved_bytes) == SAVED_BYTES[method]


@pytest.mark.parametrize("method", METHODS)
def test_saving_needs_less_than_plain(
    method: str, measured: dict[tuple[str, str], StepMemory]
) -> None:
    plain, saving = measured[method, "plain"], measured[method, "saving"]
    if method == "last":  # no gradient enters the backbone, so there is nothing to save
        assert saving == plain
    else:
        share = 0.9 if method == "full+checkpointing" else 0.8  # inputs of blocks are the same
        assert saving.peak_bytes < share * plain.peak_bytes
        assert saving.saved_bytes < share * plain.saved_bytes


@pytest.mark.integration
@pytest.mark.parametrize(("execution", "megabytes"), [("plain", 575.8), ("saving", 223.1)])
def test_the_papers_network_at_its_size(execution: str, megabytes: float) -> None:
    config = config_of(
        "tinytl-lite_residual+bias", execution, backbone="proxyless_mobile", resolution=224
    )
    memory = measure(network_of(config, classes=102), config)
    assert memory.peak_bytes / 1e6 == pytest.approx(megabytes, rel=0.002)


# --- the meter does not disturb ---


def test_a_step_measured_twice_gives_the_same_numbers(
    measured: dict[tuple[str, str], StepMemory],
) -> None:
    case = ("tinytl-lite_residual+bias", "saving")
    torch.manual_seed(7)  # other weights and images: only shapes matter
    config = config_of(*case)
    assert measure(network_of(config), config) == measured[case]


@EACH_CASE
def test_the_step_that_creates_the_optimizers_state_counts_it_as_resident(
    method: str, execution: str, measured: dict[tuple[str, str], StepMemory]
) -> None:
    config = config_of(method, execution)
    network = network_of(config)
    optimizer = make_optimizer(network, config)
    images, labels = images_of(8, 96), torch.randint(10, (8,))
    step = partial(training_step, network, optimizer, images, labels, 0.0)
    first = measure_step(step, network=network, optimizer=optimizer, inputs=(images, labels))
    assert first == measured[method, execution]


@EACH_CASE
def test_watching_what_is_kept_does_not_change_the_peak(
    method: str, execution: str, measured: dict[tuple[str, str], StepMemory]
) -> None:
    config = config_of(method, execution)
    network = network_of(config)
    optimizer = make_optimizer(network, config)
    images, labels = images_of(8, 96), torch.randint(10, (8,))
    step = partial(training_step, network, optimizer, images, labels, 0.0)
    step()
    without_marks = inference_bytes(step, torch.device("cpu"))
    assert above_resident(measured[method, execution]) == without_marks


@pytest.mark.parametrize("method", ["last", "tinytl-lite_residual+bias", "full"])
def test_evaluation_in_chunks_needs_no_more_than_training(method: str, tmp_path: Path) -> None:
    config = config_of(
        method, "saving", epochs=1, train_images=24, eval_images=32, resolution=33, validation=0.0
    )
    metrics = finetune(config, directory=tmp_path)
    chunk = read_tensors(tmp_path / CHECKPOINT, torch.device("cpu"))["chunk"]
    network = network_of(config).eval()
    images = images_of(chunk, 33)
    with torch.no_grad():
        evaluation = inference_bytes(lambda: network(images), torch.device("cpu"))
    resident = sum(metrics[f"memory.{part}_bytes"] for part in ("parameters", "buffers"))
    assert chunk >= 1
    assert resident + images.nbytes + evaluation <= metrics["peak_bytes"]
