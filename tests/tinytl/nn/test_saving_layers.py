"""Saving layers compute what their stock twins do, and keep what they say."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tinytl.engine.convert import convert
from tinytl.nn import bits
from tinytl.nn.conv import WSConv2d
from tinytl.nn.norm import FrozenBatchNorm2d, group_norm
from tinytl.nn.weight_standardization import standardize, standardize_backward_

IMAGES = (3, 8, 7, 9)


def randomized(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2.0)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    return norm


def frozen_batch_norm(channels: int, **options: bool) -> nn.BatchNorm2d:
    return randomized(FrozenBatchNorm2d(channels, **options))


def batch_norm(channels: int, **options: bool) -> nn.BatchNorm2d:
    return randomized(nn.BatchNorm2d(channels, **options))


def random_group_norm(channels: int) -> nn.GroupNorm:
    norm = group_norm(channels)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


CASES = {
    "1x1 convolution": lambda: nn.Conv2d(8, 16, 1),
    "convolution without bias": lambda: nn.Conv2d(8, 4, 3, padding=1, bias=False),
    "strided depthwise": lambda: nn.Conv2d(8, 8, 5, stride=2, padding=2, groups=8),
    "dilated group convolution": lambda: nn.Conv2d(8, 6, 3, padding=2, dilation=2, groups=2),
    "oblong convolution": lambda: nn.Conv2d(8, 4, (3, 1), stride=(1, 2), padding=(1, 0)),
    "strided convolution that drops a border": lambda: nn.Conv2d(8, 4, 3, stride=3),
    "standardized convolution": lambda: WSConv2d(8, 16, 3, padding=1, bias=False),
    "standardized strided depthwise": lambda: WSConv2d(8, 8, 3, stride=2, padding=1, groups=8),
    "group norm": lambda: random_group_norm(8),
    "frozen batch norm": lambda: frozen_batch_norm(8),
    "frozen batch norm without scale and bias": lambda: frozen_batch_norm(8, affine=False),
    "batch norm in evaluation mode": lambda: batch_norm(8).eval(),
    "batch norm in evaluation mode without scale": lambda: batch_norm(8, affine=False).eval(),
    "batch norm in training mode": lambda: batch_norm(8),
    "batch norm without running statistics": lambda: nn.BatchNorm2d(8, track_running_stats=False),
    "relu": lambda: nn.ReLU(),
    "relu6": lambda: nn.ReLU6(),
    "average pooling": lambda: nn.AvgPool2d(2),
    "average pooling by 3": lambda: nn.AvgPool2d(3),
    "maximum pooling": lambda: nn.MaxPool2d(2),
    "overlapping maximum pooling": lambda: nn.MaxPool2d(3, stride=2, padding=1),
    "maximum pooling over a border": lambda: nn.MaxPool2d((3, 2), (2, 3), ceil_mode=True),
    "linear": lambda: nn.Linear(9, 5),
}
PARAMETERS = [(name, trained) for name in CASES for trained in ("all", "bias", "none")]


def gradients(
    layer: nn.Module, input: torch.Tensor, upstream: torch.Tensor | None, *, autocast: bool = False
):
    input = input.clone().requires_grad_()
    layer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        output = layer(input)
    upstream = torch.randn_like(output) if upstream is None else upstream
    output.backward(upstream)
    return output, upstream, [input.grad, *(p.grad for p in layer.parameters())]


@pytest.mark.parametrize(("name", "trained"), PARAMETERS)
def test_results_and_gradients_are_those_of_the_stock_layer(name: str, trained: str) -> None:
    torch.manual_seed(0)
    layer = CASES[name]().double()
    for parameter_name, parameter in layer.named_parameters():
        parameter.requires_grad_(trained == "all" or parameter_name == trained)
    input = 4 * torch.randn(IMAGES, dtype=torch.float64)
    expected, upstream, expected_gradients = gradients(layer, input, None)
    expected_gradients = [None if g is None else g.clone() for g in expected_gradients]
    report = convert(layer)
    assert report.converted == ("",)
    actual, _, actual_gradients = gradients(layer, input, upstream)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    for ours, theirs in zip(actual_gradients, expected_gradients, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", CASES)
def test_under_autocast_a_layer_gives_what_its_stock_twin_gives(name: str) -> None:
    torch.manual_seed(0)
    stock = CASES[name]()
    ours = copy.deepcopy(stock)
    assert convert(ours).converted == ("",)
    input = torch.randn(IMAGES)
    expected, upstream, expected_gradients = gradients(stock, input, None, autocast=True)
    actual, _, actual_gradients = gradients(ours, input, upstream, autocast=True)
    for a, b in zip([actual, *actual_gradients], [expected, *expected_gradients], strict=True):
        assert a.dtype == b.dtype
        assert (a - b).abs().max() <= 0.02 * b.abs().max()  # 8 bits of precision


def kept_elements(layer: nn.Module, input: torch.Tensor) -> dict[torch.dtype, int]:
    """Counts elements that autograd keeps, parameters and buffers apart."""
    own = {t.data_ptr() for t in (*layer.parameters(), *layer.buffers())}
    return kept_by(lambda: layer(input), own)


def kept_by(forward: Callable[[], object], own: set[int]) -> dict[torch.dtype, int]:
    kept: dict[torch.dtype, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in own:
            kept[tensor.dtype] = kept.get(tensor.dtype, 0) + tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        forward()
    return kept


def frozen(layer: nn.Module) -> nn.Module:
    return layer.requires_grad_(False)


ELEMENTS = 3 * 8 * 7 * 9
KEPT = [
    ("frozen convolution", lambda: frozen(nn.Conv2d(8, 16, 3)), {}),
    ("frozen standardized convolution", lambda: frozen(WSConv2d(8, 16, 3)), {}),
    ("trained convolution", lambda: nn.Conv2d(8, 16, 3), {torch.float32: ELEMENTS}),
    ("trained standardized convolution", lambda: WSConv2d(8, 16, 3), {torch.float32: ELEMENTS}),
    ("frozen batch norm", lambda: frozen(frozen_batch_norm(8)), {}),
    ("trained batch norm", lambda: frozen_batch_norm(8), {torch.float32: ELEMENTS}),
    ("stock batch norm, evaluation", lambda: frozen(batch_norm(8)).eval(), {}),
    # its statistics depend on the input: mean and deviation of each channel
    ("stock batch norm, training", lambda: frozen(batch_norm(8)), {torch.float32: ELEMENTS + 16}),
    # exact, although the scale is frozen: input, and a mean and a deviation for each group
    ("frozen group norm", lambda: frozen(random_group_norm(8)), {torch.float32: ELEMENTS + 6}),
    ("relu6", nn.ReLU6, {torch.uint8: ELEMENTS // 8}),
    ("relu", nn.ReLU, {torch.uint8: ELEMENTS // 8}),
    ("average pooling", lambda: nn.AvgPool2d(2), {}),
    ("maximum pooling", lambda: nn.MaxPool2d(3, 2, 1), {torch.uint8: 3 * 8 * 4 * 5}),
    ("frozen linear", lambda: frozen(nn.Linear(9, 5)), {}),
]


@pytest.mark.parametrize(("make", "expected"), [c[1:] for c in KEPT], ids=[c[0] for c in KEPT])
def test_a_layer_keeps_only_what_its_gradients_need(make, expected: dict) -> None:
    layer = make()
    convert(layer)
    assert kept_elements(layer, torch.randn(IMAGES, requires_grad=True)) == expected


@pytest.mark.parametrize(("requires_grad", "enabled"), [(False, True), (True, False)])
def test_maximum_pooling_without_a_gradient_looks_for_no_places(
    monkeypatch: pytest.MonkeyPatch, requires_grad: bool, enabled: bool
) -> None:
    pooling = nn.MaxPool2d(3, 2, 1)
    input = torch.randn(IMAGES, requires_grad=requires_grad)
    expected = pooling(input)
    convert(pooling)
    monkeypatch.setattr("tinytl.nn.pooling._MaxPool2d", None)
    with torch.set_grad_enabled(enabled):
        assert torch.equal(pooling(input), expected)


@pytest.mark.parametrize(
    "function",
    [
        nn.AdaptiveAvgPool2d(1),
        lambda input: input.mean(dim=(2, 3)),
        lambda input: F.interpolate(input, size=(9, 11), mode="bilinear", align_corners=False),
    ],
    ids=["global pooling", "mean", "upsampling"],
)
def test_what_needs_no_twin_keeps_nothing(function: Callable) -> None:
    assert kept_by(lambda: function(torch.randn(IMAGES, requires_grad=True)), set()) == {}


def test_a_group_norm_before_everything_trained_keeps_nothing() -> None:
    layer = random_group_norm(8)
    layer.weight.requires_grad_(False)
    input = torch.randn(IMAGES)
    expected = layer(input)
    convert(layer)
    assert kept_elements(layer, input) == {}
    output = layer(input)
    torch.testing.assert_close(output, expected)
    output.sum().backward()
    torch.testing.assert_close(layer.bias.grad, torch.full((8,), 3.0 * 7 * 9))


@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_batch_norm_in_training_mode_counts_its_batches(momentum: float | None) -> None:
    stock = randomized(nn.BatchNorm2d(8, momentum=momentum))
    twin = copy.deepcopy(stock)
    convert(twin)
    for mode in (True, True, False):
        input = torch.randn(IMAGES)
        torch.testing.assert_close(twin.train(mode)(input), stock.train(mode)(input))
    assert twin.num_batches_tracked == 2
    for name, value in stock.state_dict().items():
        torch.testing.assert_close(twin.state_dict()[name], value, msg=name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("numel", [1, 7, 8, 9, 1000, (1 << 18) + 3])
def test_packed_masks_unpack_to_what_they_were(numel: int, dtype: torch.dtype) -> None:
    mask = (torch.rand(numel) > 0.5).to(dtype)
    packed = bits.pack(mask)
    assert packed.dtype == torch.uint8
    assert packed.numel() == -(-numel // 8)
    assert torch.equal(bits.unpack(packed, numel, dtype), mask)
    # the second way: bit i of byte n is element 8 n + i
    by_hand = [bool(packed[i // 8] >> (i % 8) & 1) for i in range(min(numel, 64))]
    assert by_hand == mask[:64].tolist()


@pytest.mark.parametrize("numel", [5, (1 << 18) * 2 + 11])
def test_a_relu_over_several_chunks(numel: int) -> None:
    input = torch.randn(numel, dtype=torch.float64, requires_grad=True)
    layer = nn.ReLU6()
    convert(layer)
    layer(input).sum().backward()
    assert torch.equal(input.grad, ((input > 0) & (input < 6)).double())


def test_in_place_activations_write_into_their_input() -> None:
    layer = nn.ReLU6(inplace=True)
    convert(layer)
    leaf = torch.randn(4, 3, requires_grad=True)
    hidden = leaf * 10
    output = layer(hidden)
    assert output.data_ptr() == hidden.data_ptr()
    output.sum().backward()
    torch.testing.assert_close(leaf.grad, 10.0 * ((leaf * 10 > 0) & (leaf * 10 < 6)))


def test_weight_standardization_backward_is_autograds() -> None:
    weight = torch.randn(6, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn_like(weight)
    standardize(weight).backward(upstream)
    ours = standardize_backward_(upstream, weight.detach())
    torch.testing.assert_close(ours, weight.grad, rtol=1e-12, atol=1e-12)


NOT_CONVERTED = [
    (nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), "padding"),
    (nn.Conv2d(2, 2, 3, padding=1, padding_mode="replicate"), "padding"),
    (nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), "padding"),
    (WSConv2d(2, 2, 3, padding=1, padding_mode="reflect"), "padding"),
    (nn.Conv2d(2, 2, 3, padding="same"), "padding"),
    (nn.Conv2d(2, 2, 3, padding="valid"), "padding"),
    (nn.GroupNorm(1, 2, affine=False), "scale"),
    (nn.AvgPool2d(3, stride=2), "tile"),
    (nn.AvgPool2d(2, ceil_mode=True), "tile"),
    (nn.MaxPool2d(2, return_indices=True), "indices"),
    (nn.MaxPool2d(2, dilation=2), "dilated"),
    (nn.MaxPool2d(17), "byte"),
    (nn.BatchNorm1d(2), "no saving twin"),
    (nn.Sigmoid(), "no saving twin"),
]


@pytest.mark.parametrize(("layer", "reason"), NOT_CONVERTED, ids=lambda value: str(value)[:30])
def test_what_cannot_be_converted_stays_and_says_why(layer: nn.Module, reason: str) -> None:
    kind = type(layer)
    report = convert(layer)
    assert type(layer) is kind
    assert reason in report.kept[""]


def test_a_subclass_is_not_converted() -> None:
    class Doubled(nn.Conv2d):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(input)

    layer = Doubled(2, 2, 1)
    assert "no saving twin" in convert(layer).kept[""]
    assert type(layer) is Doubled
