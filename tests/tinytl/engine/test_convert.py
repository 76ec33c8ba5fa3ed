"""Whole networks converted: norms folded into convolutions, and what the report says."""

import copy
from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn

from tinytl.engine.convert import convert
from tinytl.nn.conv import WSConv2d
from tinytl.nn.norm import FrozenBatchNorm2d
from tinytl.nn.quantized import quantize

IMAGES = (2, 4, 9, 8)


def randomized(network: nn.Module) -> nn.Module:
    """Other statistics, scales and biases than those of a new layer."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    for parameter in network.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return network.double()


def train(network: nn.Module, *suffixes: str) -> nn.Module:
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.endswith(suffixes))
    return network


def pair(norm: type[nn.BatchNorm2d] = FrozenBatchNorm2d, **options: bool) -> nn.Sequential:
    bias = options.pop("bias", False)
    convolution = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, bias=bias)
    layers = nn.Sequential(convolution, norm(6, **options), nn.ReLU6(inplace=True))
    return randomized(layers).eval()


def gradients(network: nn.Module, input: Tensor) -> tuple[Tensor, dict[str, Tensor | None]]:
    network.zero_grad()
    input = input.clone().requires_grad_()
    output = network(input)
    output.square().sum().backward()
    found = {name: p.grad for name, p in network.named_parameters()}
    return output, {**found, "input": input.grad}


def check_same(ours: nn.Module, stock: nn.Module, input: Tensor) -> None:
    output, found = gradients(ours, input)
    expected_output, expected = gradients(stock, input)
    torch.testing.assert_close(output, expected_output, rtol=1e-10, atol=1e-10)
    for name, gradient in expected.items():
        theirs, scale = found[name], 0 if gradient is None else gradient.abs().max()
        torch.testing.assert_close(theirs, gradient, rtol=0, atol=1e-10 * scale, msg=name)


FOLDED: dict[str, tuple[Callable[[], nn.Sequential], tuple[str, ...]]] = {
    "nothing trained": (pair, ()),
    "the norm's bias": (pair, ("1.bias",)),
    "both biases": (lambda: pair(bias=True), ("bias",)),
    "the convolution's bias": (lambda: pair(bias=True), ("0.bias",)),
    "a norm without scale and bias": (lambda: pair(affine=False), ()),
    "a stock norm in evaluation mode": (lambda: pair(nn.BatchNorm2d), ("1.bias",)),
}


@pytest.mark.parametrize("case", FOLDED)
def test_a_folded_pair_gives_the_stock_pairs_results_and_gradients(case: str) -> None:
    make, trained = FOLDED[case]
    stock = train(make(), *trained)
    ours = copy.deepcopy(stock)
    report = convert(ours)
    assert report.folded == ("1",)
    assert report.not_folded == {}
    check_same(ours, stock, torch.randn(IMAGES, dtype=torch.float64))


def test_nothing_but_a_mask_is_kept_of_a_folded_pair() -> None:
    network = train(pair(), "1.bias").float()
    convert(network)
    own = {t.data_ptr() for t in (*network.parameters(), *network.buffers())}
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        output = network(torch.randn(IMAGES, requires_grad=True))
    others = [tensor for tensor in kept if tensor.data_ptr() not in own]
    assert [(t.dtype, t.numel()) for t in others] == [(torch.uint8, output.numel() // 8)]


def test_state_dicts_are_exchanged_with_the_stock_network() -> None:
    stock, ours = pair(), pair()
    convert(ours)
    assert [*ours.state_dict()] == [*stock.state_dict()]
    ours.load_state_dict(stock.state_dict())
    check_same(ours, stock, torch.randn(IMAGES, dtype=torch.float64))


LATER: dict[str, Callable[[nn.Sequential], object]] = {
    "the scale is trained": lambda network: network[1].weight.requires_grad_(),
    "the weight is trained": lambda network: network[0].weight.requires_grad_(),
    "the statistics are the batch's": lambda network: network.train(),
    "values change": lambda network: network[1].running_var.mul_(2),
    "it is copied": copy.deepcopy,
}


@pytest.mark.parametrize("change", LATER)
def test_what_changes_after_the_conversion_is_respected(change: str) -> None:
    stock = train(pair(nn.BatchNorm2d), "1.bias")
    ours = copy.deepcopy(stock)
    assert convert(ours).folded == ("1",)
    for network in (stock, ours):
        LATER[change](network)
    check_same(ours, stock, torch.randn(IMAGES, dtype=torch.float64))


def test_a_copy_does_not_share_its_norm_with_the_original() -> None:
    original = train(pair(), "1.bias")
    convert(original)
    copied = copy.deepcopy(original)
    original[1].bias.data.fill_(100.0)
    assert copied(torch.zeros(IMAGES, dtype=torch.float64)).max() < 6


def test_a_weight_stored_as_codes_is_folded_when_it_is_made() -> None:
    network = train(pair(), "1.bias")
    stock = copy.deepcopy(network)
    convert(network)
    layer = quantize(network[0], "scale", 2)
    stock[0].weight.data.copy_(layer.dense())
    found, expected = (gradients(n, torch.ones(IMAGES).double())[1] for n in (network, stock))
    torch.testing.assert_close(found["1.bias"], expected["1.bias"])
    torch.testing.assert_close(found["input"], expected["input"])


def shared_norm() -> nn.Module:
    norm = FrozenBatchNorm2d(4)
    return nn.Sequential(nn.Conv2d(4, 4, 1), norm, nn.Conv2d(4, 4, 1), norm)


class Apart(nn.Module):
    """Its layers run in an order of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(4, 4, 1), FrozenBatchNorm2d(4)

    def forward(self, input: Tensor) -> Tensor:
        return self.convolution(self.norm(input))


class Reversed(nn.Sequential):
    """Its layers run from last to first."""

    def forward(self, input: Tensor) -> Tensor:
        for module in reversed(self):
            input = module(input)
        return input


def layers(*modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(*modules, FrozenBatchNorm2d(4))


NOT_FOLDED: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...], str]] = {
    "trained scale": (lambda: layers(nn.Conv2d(4, 4, 1)), ("1.weight",), "its scale is trained"),
    "trained weight": (lambda: layers(nn.Conv2d(4, 4, 1)), ("0.weight",), "weight"),
    "norm first": (lambda: layers(), (), "no convolution"),
    "something between": (lambda: layers(nn.Conv2d(4, 4, 1), nn.ReLU()), (), "no convolution"),
    "standardized": (lambda: layers(WSConv2d(4, 4, 1)), (), "no convolution"),
    "used twice": (shared_norm, (), "several places"),
    "a forward of its own": (Apart, (), "no convolution"),
    "another order": (lambda: Reversed(nn.Conv2d(4, 4, 1), FrozenBatchNorm2d(4)), (), "no conv"),
}


@pytest.mark.parametrize("case", NOT_FOLDED)
def test_what_is_not_folded_is_right_and_says_why(case: str) -> None:
    make, trained, reason = NOT_FOLDED[case]
    stock = train(randomized(make()), *trained)
    ours = copy.deepcopy(stock)
    report = convert(ours)
    assert report.folded == ()
    assert all(reason in text for text in report.not_folded.values())
    assert len(report.not_folded) == 1
    check_same(ours, stock, torch.randn(IMAGES, dtype=torch.float64))


# folded norms; those of a ResNet's blocks do not stand in a Sequential
NETWORKS = {"mobilenet_v2": 52, "mnasnet0_5": 52, "resnet18": 3}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_torchvision_are_converted_as_they_are(name: str) -> None:
    torch.manual_seed(0)
    stock = train(torchvision.models.get_model(name, num_classes=5).double().eval(), "bias")
    ours = copy.deepcopy(stock)
    report = convert(ours)
    assert len(report.folded) + len(report.not_folded) == sum(
        isinstance(module, nn.BatchNorm2d) for module in stock.modules()
    )
    assert len(report.folded) == NETWORKS[name]
    check_same(ours, stock, torch.randn(2, 3, 33, 33, dtype=torch.float64))


@pytest.mark.integration
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_network_gives_the_same(backend: str) -> None:
    torch._dynamo.reset()
    stock = train(torchvision.models.mobilenet_v2(num_classes=5, width_mult=0.35), "bias").eval()
    stock.double()
    ours = copy.deepcopy(stock)
    convert(ours)
    input = torch.randn(2, 3, 33, 33, dtype=torch.float64)
    ours.compile(backend=backend)
    check_same(ours, stock, input)
