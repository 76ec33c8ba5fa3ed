"""Conformance: every method trains what it declares and nothing else, on every backbone."""

import copy
from collections.abc import Iterator
from functools import lru_cache

import pytest
import torch
import torch.nn.functional as F

from tinytl.backbones import BACKBONES, Network
from tinytl.backbones.insertion import insert_lite_residuals
from tinytl.config import LiteResidualConfig
from tinytl.engine.convert import convert
from tinytl.methods import METHODS

# What each method trains, as globs of parameter names of a network with modules, by hand.
LITE = "lite_residual"


def expected(method: str, network: Network) -> set[str]:
    """Names of what the method trains."""
    norms = {
        f"{path}.{name}"
        for path, module in network.named_modules()
        if isinstance(module, torch.nn.GroupNorm | torch.nn.BatchNorm2d)
        for name, _ in module.named_parameters(recurse=False)
    }

    updated = set(sparsely_updated(network)) if method == "sparse-update" else set()

    def trained(name: str) -> bool:
        if name.startswith("classifier."):
            return True
        inside, bias = LITE in name, name.endswith(".bias")
        return {
            "last": False,
            "bn+last": name in norms,
            "tinytl-bias": bias,
            "tinytl-lite_residual": inside,
            "tinytl-lite_residual+bias": (inside or bias) and "final_norm.bias" not in name,
            "full": True,
            "full+checkpointing": True,
            "sparse-update": name in updated,
        }[method]

    return {name for name, _ in network.named_parameters() if trained(name)}


def sparsely_updated(network: Network) -> Iterator[str]:
    """Names of what the defaults of sparse-update train: six blocks, half of the channels."""
    *_, first, _, _, _, _, _ = network.block_names
    names = [name for name, _ in network.named_parameters()]
    start = next(i for i, name in enumerate(names) if name.startswith(f"{first}."))
    yield from (name for name in names[start:] if name.endswith(".bias"))
    for block in network.block_names[-6:]:
        layers = [
            name
            for name, module in network.named_modules()
            if f"{name}.".startswith(f"{block}.")
            and isinstance(module, torch.nn.Conv2d)
            and (module.groups, module.bias) == (1, None)
        ]
        yield f"{layers[0]}.trained"


def build(backbone: str, norm: str) -> Network:
    network = BACKBONES[backbone].build(norm, 10, 0.0)
    insert_lite_residuals(network, LiteResidualConfig())
    return network


@lru_cache(maxsize=1)
def _built_shapes(backbone: str, norm: str) -> Network:
    with torch.device("meta"):
        return build(backbone, norm)


def shapes_of(backbone: str, norm: str) -> Network:
    """A network without values of its own: methods change it."""
    return copy.deepcopy(_built_shapes(backbone, norm))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("norm", ["gn_ws", "bn_frozen"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_declared_parameters_are_marked(method: str, backbone: str, norm: str) -> None:
    network = shapes_of(backbone, norm)
    METHODS[method].apply(network)
    marked = {name for name, p in network.named_parameters() if p.requires_grad}
    assert marked == expected(method, network)


def last_called(network: Network, kind: type[torch.nn.Module]) -> str:
    """Name of the module of that kind outside lite residual modules that is called last."""
    called: list[str] = []
    for name, module in network.named_modules():
        if isinstance(module, kind) and LITE not in name:
            module.register_forward_hook(lambda *_, name=name: called.append(name))
    network(torch.empty(1, 3, 224, 224))
    return called[-1]


ONE_LAST = [name for name, info in BACKBONES.items() if info.last_convolution]
LAST_TWO = [
    *(("last", backbone) for backbone in ONE_LAST),
    *((method, "proxyless_tiny") for method in METHODS),
]


@pytest.mark.parametrize(("method", "backbone"), LAST_TWO)
def test_the_last_convolution_and_its_norm_can_be_trained_too(method: str, backbone: str) -> None:
    network = shapes_of(backbone, "gn_ws")
    with torch.device("meta"):
        convolution = last_called(network, torch.nn.Conv2d)
        its_norm = last_called(network, torch.nn.GroupNorm | torch.nn.BatchNorm2d)
    METHODS[method].apply(network, train_last=2)
    marked = {name for name, p in network.named_parameters() if p.requires_grad}
    last = {f"{convolution}.weight", f"{its_norm}.weight", f"{its_norm}.bias"}
    assert marked == expected(method, network) | last


@pytest.mark.parametrize("execution", ["plain", "saving"])
@pytest.mark.parametrize("norm", ["gn_ws", "bn_frozen"])
@pytest.mark.parametrize("method", METHODS)
def test_only_the_declared_parameters_move_in_a_step(
    method: str, norm: str, execution: str
) -> None:
    torch.manual_seed(0)
    network = build("proxyless_tiny", norm)
    for module in network.modules():
        if hasattr(module, "final_norm"):  # a zero scale would hold the gradient back
            torch.nn.init.ones_(module.final_norm.weight)
    METHODS[method].apply(network)
    if execution == "saving":
        convert(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trained = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    F.cross_entropy(network(torch.randn(4, 3, 32, 32)), torch.tensor([0, 1, 2, 3])).backward()
    optimizer.step()
    moved = {name for name, v in network.state_dict().items() if not torch.equal(v, before[name])}
    assert moved == expected(method, network)


@pytest.mark.parametrize("norm", ["gn_ws", "bn_frozen"])
@pytest.mark.parametrize("method", METHODS)
def test_saving_gives_the_plain_networks_gradients(method: str, norm: str) -> None:
    torch.manual_seed(0)
    network = build("proxyless_tiny", norm).double()
    for parameter in network.parameters():  # no zero scales, no equal biases
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    METHODS[method].apply(network)
    images, labels = torch.randn(3, 3, 33, 33, dtype=torch.float64), torch.tensor([1, 2, 3])

    def gradients() -> dict[str, torch.Tensor]:
        network.zero_grad()
        F.cross_entropy(network(images), labels, label_smoothing=0.1).backward()
        return {n: p.grad.clone() for n, p in network.named_parameters() if p.requires_grad}

    plain = gradients()
    convert(network)
    for name, gradient in gradients().items():
        error = (gradient - plain[name]).abs().max() / plain[name].abs().max()
        assert error < 1e-10, name
