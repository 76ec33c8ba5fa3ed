"""What the meter notes besides the allocator's events: blocks, gradients, and all that is kept."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tinytl.config import FinetuneConfig
from tinytl.engine.build import build_network
from tinytl.engine.loss import training_loss
from tinytl.engine.quantize import leaves_frozen
from tinytl.memory.marks import running
from tinytl.memory.measured import StepMemory, measure_step
from tinytl.methods import METHODS
from tinytl.nn.recomputed import recompute

BIG = 1_000_000  # floats, far more than all else in these networks


class Scratch(torch.autograd.Function):
    """The identity, with temporary memory in the passes that are named."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, passes: str) -> Tensor:
        ctx.passes = passes
        torch.empty(BIG if "forward" in passes else 1)
        return input.view_as(input)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        torch.empty(BIG if "backward" in ctx.passes else 1)
        return grads[0], None


class Layer(nn.Module):
    def __init__(self, passes: str) -> None:
        super().__init__()
        self.linear, self.passes = nn.Linear(4, 4), passes

    def forward(self, input: Tensor) -> Tensor:
        return self.linear(Scratch.apply(input, self.passes))


class Greedy(torch.optim.SGD):
    def step(self, closure: Any = None) -> None:
        torch.empty(BIG)
        super().step(closure)


def measured(
    network: nn.Module,
    optimizer_type: type[torch.optim.Optimizer] = torch.optim.SGD,
    run: Callable[[nn.Module, Tensor], object] | None = None,
) -> StepMemory:
    """The memory of a step in which `run` makes the gradients."""
    optimizer = optimizer_type(network.parameters(), lr=0.1)
    input = torch.randn(2, 4)

    def step() -> None:
        (run or (lambda network, input: network(input).sum().backward()))(network, input)
        optimizer.step()
        optimizer.zero_grad()

    return measure_step(step, network=network, optimizer=optimizer, inputs=(input,))


@pytest.mark.parametrize("passes", ["forward", "backward"])
def test_the_peak_is_in_the_innermost_module_that_runs(passes: str) -> None:
    network = nn.Sequential(Layer(""), nn.Sequential(Layer(passes), Layer("")), nn.ReLU(True))
    assert measured(network).peak_at == "1.0"


def test_what_a_block_computes_again_between_its_modules_belongs_to_it() -> None:
    block = Layer("forward")
    recompute(block)
    # more is alive when it is computed again than the first time
    assert measured(nn.Sequential(block, Layer(""))).peak_at == "0"


def test_what_is_computed_again_is_not_kept() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 3)))
    assert measured(network).saved_bytes == 2 * 4 * (4 + 3 + 5)
    recompute(network[1])
    assert measured(network).saved_bytes == 2 * 4 * (4 + 3)


def test_an_update_belongs_to_no_block() -> None:
    assert measured(nn.Sequential(Layer("")), Greedy).peak_at == ""


def test_what_follows_the_network_belongs_to_no_block() -> None:
    def run(network: nn.Module, input: Tensor) -> None:
        Scratch.apply(network(input), "backward").sum().backward()

    assert measured(nn.Sequential(Layer("")), run=run).peak_at == ""


def test_blocks_can_be_named_where_no_module_is_called() -> None:
    def run(network: nn.Module, input: Tensor) -> None:
        with running("blocks.0"):
            with running("blocks.0.inner"):
                network(input).sum().backward()
            torch.empty(BIG)  # after a graph inside has run, the block is the one around it

    assert measured(nn.Sequential(Layer("")), run=run).peak_at == "blocks.0"
    with running("nothing watches"):
        pass


def test_gradients_that_no_graph_made_are_counted() -> None:
    network = nn.Linear(4, BIG // 4, bias=False)

    def run(network: nn.Module, input: Tensor) -> None:
        network.weight.grad = torch.zeros_like(network.weight)

    memory = measured(network, run=run)
    assert memory.gradients_bytes == 4 * BIG
    assert memory.activations_bytes == 0


def test_gradients_of_a_graph_are_counted() -> None:
    memory = measured(nn.Linear(4, BIG // 4, bias=False))
    assert memory.gradients_bytes == 4 * BIG


def test_nothing_of_the_meter_stays_in_the_network() -> None:
    network = nn.Sequential(Layer(""), nn.ReLU())
    measured(network)
    modules = list(network.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules)


# --- nothing is kept where the meter does not look ---


def nodes(output: Tensor) -> Iterator[Any]:
    seen, pending = set(), [output.grad_fn]
    while pending:
        node = pending.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            pending += [following for following, _ in node.next_functions]


def held(value: Any) -> Iterator[Tensor]:
    """The tensors that a value holds, in whatever way."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from held(list(value.values()))
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            yield from held(item)
    elif isinstance(value, partial):
        yield from held([value.func, value.args, value.keywords])
    elif isinstance(value, nn.Module):
        yield from held([*value.parameters(), *value.buffers()])
    elif callable(value):
        yield from held([cell.cell_contents for cell in getattr(value, "__closure__", None) or ()])
        yield from held(getattr(value, "__self__", None))


BUILDS = [
    {"norm": "gn_ws"},
    {"norm": "bn_frozen"},
    {"norm": "bn_frozen", "backbone": "mobilenet_v2_0.35"},
    {"norm": "gn_ws", "frozen_weights": {"bits": 4}},
]


@pytest.mark.parametrize("build", BUILDS, ids=lambda build: "-".join(map(str, build.values())))
@pytest.mark.parametrize("method", METHODS)
def test_functions_keep_tensors_only_where_hooks_see_them(method: str, build: dict) -> None:
    if "frozen_weights" in build and not leaves_frozen(METHODS[method]):
        pytest.skip("nothing is frozen")
    values = {
        "dataset": "digits",
        "backbone": "proxyless_tiny",
        "weights": "random",
        "batch_size": 2,
    }
    config = FinetuneConfig.parse({**values, "method": method, "resolution": 33, **build})
    network = build_network(config, 10).network
    loss = training_loss(network(torch.randn(2, 3, 33, 33)), torch.tensor([1, 2]), 0.0)
    ours = [
        node for node in nodes(loss) if isinstance(node, torch.autograd.function.BackwardCFunction)
    ]
    assert ours
    own = {id(tensor) for tensor in (*network.parameters(), *network.buffers())}
    for node in ours:
        assert [t for t in held(vars(node)) if id(t) not in own] == [], node.name()


def test_a_tensor_kept_past_the_hooks_would_be_found() -> None:
    class Careless(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, input: Tensor) -> Tensor:
            ctx.found = partial(max, lambda: input)
            return input.clone()

    (node,) = (
        n
        for n in nodes(Careless.apply(torch.ones(3, requires_grad=True)))
        if "Careless" in n.name()
    )
    assert len(list(held(vars(node)))) == 1
