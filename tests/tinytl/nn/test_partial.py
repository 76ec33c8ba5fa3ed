"""Convolutions that are trained in part: the whole convolution's gradients, and what they keep."""

from typing import Any

import pytest
import torch
from torch import nn

from tinytl.engine.convert import convert
from tinytl.nn.conv import WSConv2d
from tinytl.nn.partial import PartialConv2d, SavingPartialConv2d, split

CHANNELS = torch.tensor([1, 2, 5])
LAYERS: list[dict[str, Any]] = [
    {"kernel_size": 1},
    {"kernel_size": 1, "bias": True},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": (3, 1), "padding": (2, 0), "dilation": 2, "bias": True},
]


def made(options: dict[str, Any], kind: type[nn.Conv2d]) -> nn.Conv2d:
    torch.manual_seed(0)
    return kind(6, 4, **{"bias": False, **options}).double()


def passed(layer: nn.Conv2d) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """The output, the gradient of the input, and all that was kept besides parameters, of a step.

    A norm stands behind the layer, as in networks.
    """
    torch.manual_seed(1)
    input = torch.randn(2, 6, 7, 8, dtype=torch.float64, requires_grad=True)
    norm = nn.GroupNorm(2, 4).double()
    own = {id(t) for t in (*layer.parameters(), *layer.buffers())}
    kept: list[torch.Tensor] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.extend([tensor] if id(tensor) not in own else [])
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = layer(input)
    (norm(output) * torch.randn(output.shape, dtype=torch.float64)).sum().backward()
    assert input.grad is not None
    return output.detach(), input.grad, kept


@pytest.mark.parametrize("saving", [False, True], ids=["plain", "saving"])
@pytest.mark.parametrize("kind", [nn.Conv2d, WSConv2d])
@pytest.mark.parametrize("options", LAYERS, ids=str)
def test_gradients_are_those_of_the_whole_convolution(
    options: dict[str, Any], kind: type[nn.Conv2d], saving: bool
) -> None:
    whole = made(options, kind)
    expected = passed(whole)
    partial = made(options, kind)
    trained = split(partial, CHANNELS)
    if saving:
        convert(partial)
    assert type(partial) is (SavingPartialConv2d if saving else PartialConv2d)
    found = passed(partial)
    for ours, theirs in zip(found[:2], expected[:2], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)
    assert whole.weight.grad is not None and trained.grad is not None
    gradient = whole.weight.grad[:, CHANNELS]
    assert (trained.grad - gradient).abs().max() < 1e-10 * gradient.abs().max()
    assert partial.weight.grad is None
    if whole.bias is not None:
        torch.testing.assert_close(partial.bias.grad, whole.bias.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", [nn.Conv2d, WSConv2d])
def test_of_the_input_no_more_is_kept_than_the_part_needs(kind: type[nn.Conv2d]) -> None:
    layer = made({"kernel_size": 1}, kind)
    split(layer, CHANNELS)
    convert(layer)
    output, _, kept = passed(layer)
    shapes = [tuple(tensor.shape) for tensor in kept]
    if kind is WSConv2d:  # with the sum of all channels, and the result, which the norm keeps too
        assert shapes == [(2, 4, 7, 8), tuple(output.shape)]
    else:
        assert shapes == [(2, 3, 7, 8)]


def test_without_gradients_nothing_is_kept() -> None:
    layer = made({"kernel_size": 1}, WSConv2d)
    expected = layer(torch.ones(1, 6, 2, 2, dtype=torch.float64))
    split(layer, CHANNELS)
    convert(layer)
    with torch.no_grad():
        found = layer(torch.ones(1, 6, 2, 2, dtype=torch.float64))
    assert found.grad_fn is None
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", [nn.Conv2d, WSConv2d])
def test_under_autocast_gradients_are_those_of_the_plain_layer(kind: type[nn.Conv2d]) -> None:
    found = []
    for saving in (False, True):
        layer = made({"kernel_size": 1, "bias": True}, kind).float()
        trained = split(layer, CHANNELS)
        if saving:
            convert(layer)
        input = torch.linspace(-1, 1, 2 * 6 * 9).view(2, 6, 3, 3)
        with torch.autocast("cpu", torch.bfloat16):
            output = layer(input)
        assert output.dtype == torch.bfloat16
        (output.float() * torch.linspace(0, 1, output.numel()).view_as(output)).sum().backward()
        found.append(trained.grad)
    plain, ours = found
    assert ours.dtype == plain.dtype == torch.float32
    assert (ours - plain).abs().max() < 0.03 * plain.abs().max()
