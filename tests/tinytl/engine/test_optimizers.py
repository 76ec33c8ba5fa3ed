"""What every optimizer promises to the engine, and how near the approximate one stays to Adam."""

import math
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from tinytl.checkpoint import read_tensors, write_tensors
from tinytl.config import FinetuneConfig, Optimizer
from tinytl.engine.adam8bit import BLOCK, SMALLEST, Adam8bit, _Moment
from tinytl.engine.step import make_optimizer
from tinytl.finetune import CHECKPOINT, epochs, finetune
from tinytl.memory.measured import inference_bytes

OPTIMIZERS = get_args(Optimizer)
PLAIN: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "sgd_momentum": lambda *args, **options: torch.optim.SGD(*args, momentum=0.9, **options),
}
# smaller than codes are for, whole blocks in more than one piece, and a rest beside them
SHAPES = {
    "bias": (3,),
    "small": (SMALLEST - 1,),
    "blocks": (20, 16, 64),
    "rest": (5, 7, 11, 13),
    "frozen": (9,),
}
FROZEN = {"frozen"}
CODED = {"blocks", "rest"}
EACH_OPTIMIZER = pytest.mark.parametrize("optimizer", OPTIMIZERS)
EACH_TYPE = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def network_of(dtype: torch.dtype = torch.float64) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    network = nn.Module()
    for name, shape in SHAPES.items():
        values = torch.randn(shape, generator=generator, dtype=dtype)
        network.register_parameter(name, nn.Parameter(values, requires_grad=name not in FROZEN))
    return network


def optimizer_of(
    name: str, network: nn.Module, *, decay: float = 0.0, rate: float = 0.01
) -> torch.optim.Optimizer:
    config = FinetuneConfig(
        dataset="digits", backbone="proxyless_tiny", method="last", resolution=33, batch_size=8,
        optimizer=name, weight_decay=decay, learning_rate=rate,
    )  # fmt: skip
    return make_optimizer(network, config)  # type: ignore[arg-type]


def trained(network: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in network.named_parameters() if p.requires_grad}


def set_gradients(network: nn.Module, step: int) -> None:
    """Gradients of a size of their own for each weight, which follow from the step's number."""
    for index, parameter in enumerate(trained(network).values()):
        generator = torch.Generator().manual_seed(index)
        shape, dtype = parameter.shape, parameter.dtype
        sizes = torch.randn(shape, generator=generator, dtype=dtype).exp()
        generator.manual_seed(1000 * (step + 1) + index)
        parameter.grad = sizes * (torch.randn(shape, generator=generator, dtype=dtype) + 0.3)


def take(network: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> dict[str, Tensor]:
    """Takes steps and returns the weights after the last."""
    for step in steps:
        set_gradients(network, step)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return {name: p.detach().clone() for name, p in network.named_parameters()}


equal = partial(torch.testing.assert_close, rtol=0, atol=0)


# --- every optimizer ---


@EACH_TYPE
@EACH_OPTIMIZER
def test_exactly_the_parameters_with_a_gradient_move(optimizer: str, dtype: torch.dtype) -> None:
    network = network_of(dtype)
    chosen = optimizer_of(optimizer, network)
    before = take(network, chosen, range(2))  # so that all have momentum
    state = {name: deepcopy(chosen.state.get(p)) for name, p in network.named_parameters()}
    alone = {"small", "rest", "frozen"}
    set_gradients(network, 2)
    for name in alone:
        network.get_parameter(name).grad = None
    chosen.step()
    for name, parameter in network.named_parameters():
        if name in alone:
            assert torch.equal(parameter, before[name]), name
            equal(chosen.state.get(parameter), state[name])
        else:
            assert not (parameter == before[name]).any(), name


@EACH_OPTIMIZER
def test_a_step_in_parts_is_the_whole_step(optimizer: str) -> None:
    whole, parts = network_of(), network_of()
    expected = take(whole, optimizer_of(optimizer, whole, decay=0.1), range(4))
    chosen = optimizer_of(optimizer, parts, decay=0.1)
    for step in range(4):
        set_gradients(parts, step)
        gradients = {name: parameter.grad for name, parameter in trained(parts).items()}
        for some in (["rest"], ["small", "blocks"], ["bias"]):
            for name, parameter in trained(parts).items():
                parameter.grad = gradients[name] if name in some else None
            chosen.step()
    for name, parameter in parts.named_parameters():
        assert torch.equal(parameter, expected[name]), name


@EACH_TYPE
@EACH_OPTIMIZER
def test_a_run_resumed_from_a_file_goes_on_to_the_same_weights(
    optimizer: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    network = network_of(dtype)
    first = optimizer_of(optimizer, network)
    take(network, first, range(3))
    file = tmp_path / "checkpoint.pt"
    write_tensors(file, {"network": network.state_dict(), "optimizer": first.state_dict()})
    expected = take(network, first, range(3, 6))

    state = read_tensors(file, torch.device("cpu"))
    resumed = network_of(dtype)
    resumed.load_state_dict(state["network"])
    second = optimizer_of(optimizer, resumed)
    second.load_state_dict(state["optimizer"])
    weights = take(resumed, second, range(3, 6))
    for name, value in weights.items():
        assert torch.equal(value, expected[name]), name
    for parameter, other in zip(network.parameters(), resumed.parameters(), strict=True):
        equal(first.state.get(parameter), second.state.get(other))


@EACH_OPTIMIZER
def test_a_learning_rate_of_zero_moves_nothing(optimizer: str) -> None:
    network = network_of()
    before = take(network, optimizer_of(optimizer, network), range(0))
    chosen = optimizer_of(optimizer, network, decay=0.1)
    for group in chosen.param_groups:  # as the engine sets it for each step
        group["lr"] = 0.0
    after = take(network, chosen, range(2))
    assert all(torch.equal(after[name], before[name]) for name in before)


# bytes a weight, and a parameter
STATE = {"adam": (8, 4), "adamw": (8, 4), "sgd": (0, 0), "sgd_momentum": (4, 0)}


@EACH_OPTIMIZER
def test_state_has_the_bytes_that_are_declared(optimizer: str) -> None:
    network = network_of(torch.float32)
    chosen = optimizer_of(optimizer, network)
    take(network, chosen, range(1))
    for name, parameter in trained(network).items():
        tensors = [t for t in chosen.state[parameter].values() if isinstance(t, Tensor)]
        if optimizer != "adam8bit":
            a_weight, a_parameter = STATE[optimizer]
            expected = a_weight * parameter.numel() + a_parameter
        elif name in CODED:
            expected = 2 * parameter.numel() + 8 * math.ceil(parameter.numel() / BLOCK)
        else:
            expected = 8 * parameter.numel()
        assert sum(tensor.nbytes for tensor in tensors) == expected, name


@EACH_OPTIMIZER
def test_an_update_needs_little_memory_whatever_the_size(optimizer: str) -> None:
    network = nn.Module()
    network.register_parameter("large", nn.Parameter(torch.randn(1000, 1001)))
    chosen = optimizer_of(optimizer, network, decay=0.1)
    take(network, chosen, range(1))
    set_gradients(network, 1)
    needed = inference_bytes(chosen.step, torch.device("cpu"))
    assert needed < (350_000 if optimizer == "adam8bit" else 100)


# --- against another implementation ---


@pytest.mark.parametrize("decay", [0.0, 0.1])
@EACH_TYPE
@pytest.mark.parametrize("optimizer", PLAIN)
def test_fused_updates_are_those_of_the_plain_implementation(
    optimizer: str, dtype: torch.dtype, decay: float
) -> None:
    network, plain = network_of(dtype), network_of(dtype)
    weights = take(network, optimizer_of(optimizer, network, decay=decay), range(5))
    other = PLAIN[optimizer](
        list(trained(plain).values()), lr=0.01, weight_decay=decay, foreach=False, fused=False
    )
    for name, expected in take(plain, other, range(5)).items():
        rounding = 8 * torch.finfo(dtype).eps
        torch.testing.assert_close(weights[name], expected, rtol=rounding, atol=rounding)


# --- the approximation ---


def moment_of(values: Tensor, codes: torch.dtype, threshold: float) -> _Moment:
    moment = _Moment(
        torch.zeros(values.numel(), dtype=codes), values.new_zeros(len(values) // BLOCK, 1)
    )
    moment.encode(values, threshold)
    return moment


def values_of(codes: torch.dtype) -> Tensor:
    """Values of many sizes, with a block of zeros in their midst."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(8 * BLOCK, generator=generator, dtype=torch.float64) ** 5
    values[3 * BLOCK : 4 * BLOCK] = 0
    return values if codes.is_signed else values.abs()


EACH_CODE = pytest.mark.parametrize("codes", [torch.int8, torch.uint8], ids=str)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.999999])
@EACH_CODE
def test_a_decoded_value_is_one_of_the_two_beside_the_true_one(
    codes: torch.dtype, threshold: float
) -> None:
    values = values_of(codes)
    decoded = moment_of(values, codes, threshold).decoded().view(-1, BLOCK)
    levels = torch.iinfo(codes).max
    table = (torch.arange(levels + 1, dtype=torch.float64) / levels) ** 4
    scales = values.view(-1, BLOCK).abs().amax(1, keepdim=True)
    shares = values.view(-1, BLOCK).abs() / scales.where(scales > 0, 1.0)
    above = torch.searchsorted(table, shares * (1 - 1e-12))
    below = (above - 1).clamp(min=0 if codes.is_signed else 1)
    error = torch.minimum(
        (decoded.abs() - table[below] * scales).abs(), (decoded.abs() - table[above] * scales).abs()
    )
    assert (error <= 1e-12 * scales).all()
    assert (decoded * values.view(-1, BLOCK) >= 0).all(), "of the other sign"


@EACH_CODE
def test_zeros_stay_zeros_and_roots_above_zero_stay_above(codes: torch.dtype) -> None:
    values = values_of(codes)
    values[0] = values.abs()[:BLOCK].amax() * 1e-12
    decoded = moment_of(values, codes, 0.0).decoded()
    assert (decoded[3 * BLOCK : 4 * BLOCK] == 0).all()
    assert (decoded[0] == 0) == codes.is_signed


@EACH_CODE
def test_roundings_cancel_over_the_steps(codes: torch.dtype) -> None:
    values = values_of(codes)[:BLOCK]
    levels = torch.iinfo(codes).max
    roots = levels * (values.abs() / values.abs().amax()).sqrt().sqrt()
    thresholds = [step * (math.sqrt(5) - 1) / 2 % 1 for step in range(1, 201)]
    moments = [moment_of(values, codes, threshold) for threshold in thresholds]
    mean = torch.stack([moment.codes.double().abs() for moment in moments]).mean(0)
    assert ((mean - roots).abs()[roots >= 1] < 0.02).all()


@EACH_TYPE
def test_small_parameters_are_updated_as_by_adam(dtype: torch.dtype) -> None:
    network, plain = network_of(dtype), network_of(dtype)
    weights = take(network, optimizer_of("adam8bit", network, decay=0.1), range(5))
    expected = take(plain, optimizer_of("adam", plain, decay=0.1), range(5))
    for name in weights.keys() - CODED:
        rounding = 16 * torch.finfo(dtype).eps
        torch.testing.assert_close(weights[name], expected[name], rtol=rounding, atol=rounding)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@EACH_TYPE
def test_large_parameters_move_nearly_as_by_adam(dtype: torch.dtype, decay: float) -> None:
    network, plain = network_of(dtype), network_of(dtype)
    start = take(network, optimizer_of("adam8bit", network), range(0))
    weights = take(network, optimizer_of("adam8bit", network, decay=decay), range(50))
    expected = take(plain, optimizer_of("adam", plain, decay=decay), range(50))
    for name in CODED:
        moved = expected[name] - start[name]
        assert (weights[name] - expected[name]).norm() < 0.1 * moved.norm(), name


def test_the_state_of_a_weight_whose_gradients_shrink_follows_them() -> None:
    # beside others of the same block whose gradients do not, so that the scale stays
    parameter = nn.Parameter(torch.zeros(SMALLEST, dtype=torch.float64))
    optimizer = Adam8bit([parameter], lr=1e-3)
    square, grad = 0.0, torch.ones_like(parameter)
    for step in range(1500):
        grad[7] = 1.0 if step < 100 else 0.01
        square = 0.999 * square + 0.001 * float(grad[7]) ** 2
        parameter.grad = grad
        optimizer.step()
    state = optimizer.state[parameter]
    root = _Moment(state["root_codes"], state["root_scales"]).decoded()[7]
    assert float(root) == pytest.approx(math.sqrt(square), rel=0.1)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_shows_in_the_weights(wrong: float) -> None:
    network = network_of()
    optimizer = optimizer_of("adam8bit", network)
    set_gradients(network, 0)
    for parameter in trained(network).values():
        assert parameter.grad is not None
        parameter.grad.view(-1)[1] = wrong
    optimizer.step()
    assert all(not parameter.isfinite().all() for parameter in trained(network).values())


@pytest.mark.integration
def test_a_resumed_run_reports_what_an_uninterrupted_one_does(tmp_path: Path) -> None:
    config = FinetuneConfig(
        dataset="digits", backbone="proxyless_tiny", weights="random", method="full",
        resolution=33, batch_size=8, epochs=2, train_images=16, eval_images=16,
        optimizer="adam8bit", learning_rate=3e-3,
    )  # fmt: skip
    expected = finetune(config, directory=tmp_path / "at once")
    running = epochs(config, directory=tmp_path / "resumed")
    next(running)
    running.close()  # type: ignore[attr-defined]
    resumed = finetune(config, directory=tmp_path / "resumed")
    same = {name for name in expected if not name.endswith("_seconds")}
    assert {name: resumed[name] for name in same} == {name: expected[name] for name in same}
    state = read_tensors(tmp_path / "resumed" / CHECKPOINT, torch.device("cpu"))["optimizer"]
    assert any("root_codes" in each for each in state["state"].values()), "none is large enough"
