"""Quantized layers compute what a layer with the dense weight does, and hold no such weight."""

import pytest
import torch
from torch import nn

from tinytl.engine.convert import convert
from tinytl.nn.codes import STORAGES
from tinytl.nn.conv import WSConv2d
from tinytl.nn.quantized import Quantized, quantize

IMAGES = (3, 16, 7, 9)
CASES = {
    "1x1 convolution": lambda: nn.Conv2d(16, 32, 1),
    "strided group convolution": lambda: nn.Conv2d(16, 32, 5, stride=2, padding=2, groups=4),
    "dilated convolution without bias": lambda: nn.Conv2d(16, 8, 3, dilation=2, bias=False),
    "standardized convolution": lambda: WSConv2d(16, 32, 3, padding=1),
    "linear": lambda: nn.Linear(9, 60),
}


def quantized(name: str, storage: str, bits: int = 4) -> tuple[nn.Module, Quantized]:
    """A stock layer with the dense weight, and the quantized layer; biases are trained."""
    torch.manual_seed(0)
    layer, stock = CASES[name]().double(), CASES[name]().double()
    stock.load_state_dict(layer.state_dict())
    convert(layer)
    result = quantize(layer, storage, bits)
    assert result is layer
    stock.weight.requires_grad_(False).copy_(result.dense())
    if isinstance(stock, WSConv2d):  # what is stored is standardized already
        stock.__class__ = nn.Conv2d
    return stock, result


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("name", CASES)
def test_results_and_gradients_are_those_of_the_dense_weight(name: str, storage: str) -> None:
    stock, layer = quantized(name, storage)
    results = []
    for each in (stock, layer):
        torch.manual_seed(1)
        input = torch.randn(IMAGES, dtype=torch.float64, requires_grad=True)
        output = each(input)
        output.backward(torch.randn_like(output))
        results.append(
            [output, input.grad, *(p.grad for p in each.parameters() if p.requires_grad)]
        )
    assert len(results[0]) == len(results[1])
    for expected, actual in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("name", CASES)
def test_nothing_dense_is_held_or_kept(name: str, storage: str) -> None:
    stock, layer = quantized(name, storage)
    assert layer.weight is None
    assert {n for n, _ in layer.named_parameters()} <= {"bias"}
    assert {n for n, _ in layer.named_buffers()} == {"codes", STORAGES[storage].levels}
    assert layer.codes.nbytes == stock.weight.numel() * 4 // 8
    own = {tensor.data_ptr() for tensor in layer.buffers()}
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor.data_ptr()) or tensor, lambda tensor: tensor
    ):
        layer(torch.randn(IMAGES, dtype=torch.float64, requires_grad=True))
    assert set(kept) == own


def test_another_type_of_numbers_reaches_the_dense_weight() -> None:
    _, layer = quantized("linear", "kmeans")
    codes = layer.codes.clone()
    assert layer.float().dense().dtype == torch.float32
    assert torch.equal(layer.codes, codes)


@pytest.mark.parametrize("storage", STORAGES)
def test_shapes_alone_pass_through(storage: str) -> None:
    _, layer = quantized("standardized convolution", storage)
    images = torch.empty(IMAGES, dtype=torch.float64, device="meta")
    assert layer.to("meta")(images).shape == (3, 32, 7, 9)


# weights of 8 filters, and whether 8 bits and a codebook of 1,024 bytes take less than float32
SIZES = [(nn.Linear(42, 8), False), (nn.Linear(43, 8), True)]


@pytest.mark.parametrize(("layer", "smaller"), SIZES, ids=["336 weights", "344 weights"])
def test_what_would_not_be_smaller_stays(layer: nn.Linear, smaller: bool) -> None:
    convert(layer)
    before = layer.state_dict()
    assert (quantize(layer, "kmeans", 8) is not None) is smaller
    assert (layer.state_dict().keys() == before.keys()) is not smaller
