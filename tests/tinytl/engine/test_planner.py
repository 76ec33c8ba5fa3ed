"""Plans: what is predicted is what is measured, and bounds are kept or refused with a reason."""

import pytest
import torch

from tinytl.config import FinetuneConfig
from tinytl.engine.build import build_network
from tinytl.engine.execute import make_step, plan
from tinytl.engine.measure import measure
from tinytl.engine.planned.plan import Part, Plan
from tinytl.engine.planned.planner import considered, costs_of
from tinytl.engine.planned.step import PlannedStep
from tinytl.engine.step import make_optimizer
from tinytl.errors import ConfigError
from tinytl.memory.measured import measure_step
from tinytl.methods import METHODS

BASE = {
    "dataset": "digits",
    "backbone": "proxyless_tiny",
    "weights": "random",
    "norm": "gn_ws",
    "method": "tinytl-lite_residual+bias",
    "resolution": 64,
    "batch_size": 6,
    "execution": "planned",
    "max_slowdown": 1.2,
}
CASES = {
    **{f"{method}, {norm}": {"method": method, "norm": norm} for method, info in METHODS.items()
       if not info.unplanned for norm in ("gn_ws", "bn_frozen")},
    "stored weights": {"frozen_weights": {"bits": 8}},
    "sgd": {"optimizer": "sgd"},
    "adam8bit": {"optimizer": "adam8bit"},
    "one image": {"batch_size": 1},
    "smallest": {"max_slowdown": 100},
    "MobileNetV2": {"backbone": "mobilenet_v2_0.35", "norm": "bn_frozen", "method": "tinytl-bias"},
}  # fmt: skip


def config(**settings: object) -> FinetuneConfig:
    return FinetuneConfig.parse({**BASE, **settings})


@pytest.mark.parametrize("case", CASES)
def test_the_peak_is_predicted_within_5_percent(case: str) -> None:
    wanted = config(**CASES[case])
    network = build_network(wanted, 10).network
    predicted = plan(network, wanted).peak_bytes
    measured = measure(network, wanted).peak_bytes
    assert predicted == pytest.approx(measured, rel=0.05)


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
def test_the_peak_is_predicted_on_a_gpu(case: str, cuda: torch.device) -> None:
    wanted = config(**CASES[case])
    network = build_network(wanted, 10).network.to(cuda)
    predicted = plan(network, wanted).peak_bytes
    measured = measure(network, wanted).peak_bytes
    assert predicted == pytest.approx(measured, rel=0.05)


def test_any_plan_is_predicted() -> None:
    wanted = config()
    network = build_network(wanted, 10).network
    images = torch.randn(6, 3, 64, 64)
    labels = torch.zeros(6, dtype=torch.int64)
    optimizer = make_optimizer(network, wanted)
    make_step(network, optimizer, wanted)(images, labels)  # for the optimizer's state
    for choice in considered(costs_of(network, images), 6)[::17]:
        step = PlannedStep(network, optimizer, choice.plan)
        measured = measure_step(
            lambda: step(images, labels, 0.1),  # noqa: B023
            network=network, optimizer=optimizer, inputs=(images, labels),
        )  # fmt: skip
        own = measured.activations_bytes + measured.gradients_bytes + measured.transient_bytes
        assert choice.step_bytes == pytest.approx(own, rel=0.05), choice.plan


# of proxyless_tiny, batch 6 at 64 px; scratch of the kernels, 0.03 MB, depends on the processor
SMALLEST_BYTES = {
    "tinytl-bias": 895_136,
    "tinytl-lite_residual+bias": 1_759_252,
    "full": 1_735_544,
}


@pytest.mark.parametrize("method", SMALLEST_BYTES)
def test_the_smallest_step_stays_as_small_as_it_was(method: str) -> None:
    wanted = config(method=method, max_slowdown=100)
    memory = measure(build_network(wanted, 10).network, wanted)
    assert memory.peak_bytes == pytest.approx(SMALLEST_BYTES[method], rel=0.02)
    assert memory.peak_at.startswith(("blocks", "features", "classifier"))


def test_a_budget_takes_the_fastest_plan_within_it() -> None:
    network = build_network(config(), 10).network
    choices = {
        budget: plan(network, config(memory_budget=budget, max_slowdown=None))
        for budget in ("2.2MB", "3MB", "100MB")
    }
    assert choices["2.2MB"].peak_bytes <= 2.2e6
    assert choices["3MB"].peak_bytes <= 3e6
    slowdowns = [planned.choice.slowdown for planned in choices.values()]
    assert slowdowns == sorted(slowdowns, reverse=True)
    assert slowdowns[-1] == 1


def test_a_budget_that_cannot_be_met_says_what_would() -> None:
    network = build_network(config(), 10).network
    with pytest.raises(ConfigError, match="memory_budget: must be at least") as refused:
        plan(network, config(memory_budget="0.2MB"))
    needed = str(refused.value).split("at least ")[1].split(" for")[0]
    met = plan(network, config(memory_budget=needed))
    assert met.choice.slowdown <= 1.2
    with pytest.raises(ConfigError):
        plan(network, config(memory_budget=met.peak_bytes - 100_000))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"max_slowdown": None}, "execution: planned needs a memory_budget or a max_slowdown"),
        ({"execution": "saving"}, "max_slowdown: needs execution planned, but got saving"),
    ],
)
def test_bounds_and_execution_belong_together(settings: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        build_network(config(**settings), 10)


def test_a_plan_is_read_by_people() -> None:
    described = Plan((Part((0, 1, 2), 1), Part((3, 4), 8), Part((5, 6), 8), 7, 8), 250_000)
    assert str(described) == (
        "blocks 0 to 2 again in groups of 3, 1 images at a time; "
        "blocks 3 to 6 again in groups of 2, 8 images at a time; blocks 7 to 8 once; "
        "tiles of 0.25 MB"
    )
    each_time = Plan((Part((0,), 1), 1), 500_000, keeps_lite_residuals=True, holds_weights=False)
    assert str(each_time) == (
        "block 0 again, 1 images at a time; block 1 once; lite residuals kept; "
        "weights made each time; tiles of 0.5 MB"
    )
