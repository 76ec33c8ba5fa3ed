"""Execution in parts: the gradients are those of the whole network, whatever the plan."""

import pytest
import torch

from tinytl.backbones import BACKBONES, Network
from tinytl.backbones.insertion import insert_lite_residuals
from tinytl.config import LiteResidualConfig
from tinytl.engine.convert import convert
from tinytl.engine.loss import training_loss
from tinytl.engine.planned.block import blocks_of
from tinytl.engine.planned.native import operators
from tinytl.engine.planned.native.slabs import NativeSlabs
from tinytl.engine.planned.plan import Part, Plan
from tinytl.engine.planned.step import PlannedStep
from tinytl.engine.quantize import quantize_frozen
from tinytl.errors import ConfigError
from tinytl.methods import METHODS

CLASSES = 10
PLANNED = [name for name, method in METHODS.items() if not method.unplanned]
STREAMED = [n for n in BACKBONES if n.startswith(("proxyless", "mobilenet_v2", "mnasnet"))]


class Recorder(torch.optim.Optimizer):
    """Notes gradients where another optimizer would use them."""

    def __init__(self, network: Network) -> None:
        super().__init__(network.parameters(), {})
        self.names = {p: name for name, p in network.named_parameters()}
        self.gradients: dict[str, torch.Tensor] = {}

    def step(self) -> None:
        for parameter, name in self.names.items():
            if parameter.grad is not None:
                assert name not in self.gradients, "updated twice"
                self.gradients[name] = parameter.grad.clone()


def built(
    backbone: str, norm: str, method: str, *, bits: int | None = None, dropout: float = 0.0
) -> Network:
    torch.manual_seed(0)
    network = BACKBONES[backbone].build(norm, CLASSES, dropout)
    insert_lite_residuals(network, LiteResidualConfig(width=0.5))
    METHODS[method].apply(network)
    convert(network)
    network.double()
    for parameter in network.parameters():  # no zero scales, no equal biases
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    if bits is not None:
        quantize_frozen(network, bits=bits)
    return network.train()


def plans(blocks: int) -> dict[str, Plan]:
    """Plans that differ in what is recomputed together, and in the size of the tiles."""
    rest = tuple(range(3, blocks))
    nested = Part((Part((3,), 2), *rest[1:]), 99)
    return {
        "whole": Plan(tuple(range(blocks)), 10**9),
        "image by image": Plan((Part(tuple(range(blocks)), 1),), 20_000),
        "early blocks in twos": Plan((Part((0, 1, 2), 2), *rest), 100_000),
        "nested": Plan((Part((0, 1, 2), 3), nested), 10_000),
        "weights made each time": Plan((Part((0, 1, 2), 1), *rest), 20_000, holds_weights=False),
    }


def compare(
    network: Network,
    plan: Plan,
    *,
    images: int = 5,
    side: int = 65,
    labels: torch.Tensor | None = None,
    tolerance: float = 1e-10,
) -> None:
    device = network.classifier.weight.device
    inputs = torch.randn(images, 3, side, side, dtype=torch.float64, device=device)
    labels = (torch.arange(images) % CLASSES if labels is None else labels).to(device)
    torch.manual_seed(1)  # for dropout
    loss = training_loss(network(inputs), labels, 0.1)
    loss.backward()
    expected = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
    network.zero_grad()
    recorder = Recorder(network)
    torch.manual_seed(1)
    ours = PlannedStep(network, recorder, plan)(inputs, labels, 0.1)
    torch.testing.assert_close(ours, loss.detach(), rtol=1e-12, atol=0)
    assert recorder.gradients.keys() == expected.keys()
    for name, gradient in recorder.gradients.items():
        error = (gradient - expected[name]).abs().max() / expected[name].abs().max()
        assert error < tolerance, name
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.fixture(params=["C++", "PyTorch"])
def slabs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a test with each kind of slabs."""
    if request.param == "PyTorch":
        monkeypatch.setattr(NativeSlabs, "of", lambda slabs: None)
    elif operators() is None:
        pytest.skip("this machine has no compiler")


@pytest.mark.usefixtures("slabs")
@pytest.mark.parametrize("norm", ["gn_ws", "bn_frozen"])
@pytest.mark.parametrize("method", PLANNED)
@pytest.mark.parametrize("plan", plans(5))
def test_gradients_are_exact_for_every_method_and_plan(plan: str, method: str, norm: str) -> None:
    network = built("proxyless_tiny", norm, method)
    compare(network, plans(len(blocks_of(network)[0]))[plan])


@pytest.mark.parametrize("backbone", STREAMED)
def test_gradients_are_exact_on_every_streamed_backbone(backbone: str) -> None:
    norm = BACKBONES[backbone].norms[0]
    network = built(backbone, norm, "tinytl-lite_residual+bias")
    plan = plans(len(blocks_of(network)[0]))["early blocks in twos"]
    compare(network, plan, images=2, side=BACKBONES[backbone].min_resolution)


@pytest.mark.usefixtures("slabs")
@pytest.mark.parametrize("bits", [8, 5])
@pytest.mark.parametrize("side", [48, 65, 70])
def test_gradients_are_exact_with_stored_weights_and_odd_sizes(bits: int, side: int) -> None:
    network = built("proxyless_tiny", "gn_ws", "tinytl-lite_residual+bias", bits=bits)
    compare(network, plans(len(blocks_of(network)[0]))["nested"], images=3, side=side)


@pytest.mark.parametrize("kind", ["classes", "several labels"])
def test_gradients_are_exact_with_dropout_and_either_loss(kind: str) -> None:
    network = built("proxyless_tiny", "bn_frozen", "tinytl-lite_residual+bias", dropout=0.4)
    labels = {"classes": torch.arange(4), "several labels": torch.randint(2, (4, CLASSES))}
    compare(network, plans(len(blocks_of(network)[0]))["nested"], images=4, labels=labels[kind])


@pytest.mark.gpu
@pytest.mark.parametrize("norm", ["gn_ws", "bn_frozen"])
@pytest.mark.parametrize("method", PLANNED)
@pytest.mark.parametrize("plan", plans(5))
def test_gradients_are_exact_on_a_gpu(
    plan: str, method: str, norm: str, cuda: torch.device
) -> None:
    network = built("proxyless_tiny", norm, method, bits=8).to(cuda)
    # its convolutions may add in another order for other numbers of images
    compare(network, plans(len(blocks_of(network)[0]))[plan], tolerance=1e-9)


@pytest.mark.parametrize("backbone", ["resnet18", "inception_v3", "mobilenet_v3_small"])
def test_other_backbones_are_refused_with_the_reason(backbone: str) -> None:
    network = BACKBONES[backbone].build("bn_frozen", CLASSES, 0.0)
    convert(network)
    with pytest.raises(ConfigError, match="execution: planned needs a backbone of"):
        blocks_of(network)
