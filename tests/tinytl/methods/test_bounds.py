"""What each method may keep for the backward pass: a bound by hand, from shapes alone."""

import pytest
import torch
from torch import nn

from tinytl.backbones import Network
from tinytl.config import FinetuneConfig
from tinytl.engine.build import build_network
from tinytl.engine.measure import measure
from tinytl.memory.modeled import modeled_bytes
from tinytl.methods import METHODS
from tinytl.nn.activation import SavingReLU, SavingReLU6
from tinytl.nn.partial import PartialConv2d
from tinytl.nn.recomputed import Recomputed

BATCH, RESOLUTION = 4, 64
NETWORKS = [
    ("proxyless_tiny", "gn_ws"),
    ("proxyless_tiny", "bn_frozen"),
    ("mobilenet_v2_0.35", "bn_frozen"),
]
RELUS = (SavingReLU, SavingReLU6)
NORMS = (nn.GroupNorm, nn.BatchNorm2d)


def config_of(method: str, backbone: str, norm: str) -> FinetuneConfig:
    return FinetuneConfig(
        dataset="digits",
        backbone=backbone,
        norm=norm,
        weights="random",
        method=method,
        resolution=RESOLUTION,
        batch_size=BATCH,
        dropout=0.0,
    )


def bytes_by_rule(network: Network) -> dict[str, int]:
    """Bytes of a batch's inputs, by what a layer would keep them for.

    `weights`: inputs of layers whose weight is trained; `bits`: 1 bit an element of each ReLU;
    `statistics`: inputs of GroupNorms, with two numbers a group; `recomputed`: inputs of blocks
    that are, inside of which nothing is kept.
    """
    found = {"weights": 0, "bits": 0, "statistics": 0, "recomputed": 0}
    blocks = [module for module in network.modules() if isinstance(module, Recomputed)]
    inside = {layer for block in blocks for layer in block.modules()}

    def add(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        numel = inputs[0].numel()
        weight = getattr(module, "weight", None)
        if not output.requires_grad:  # no gradient comes so far
            return
        if module in blocks:
            found["recomputed"] += 4 * numel
        elif isinstance(module, RELUS):
            found["bits"] += -(-numel // 8)
        elif isinstance(module, PartialConv2d):
            channels = module.trained.shape[1] + module.standardized  # and the sum of all
            found["weights"] += 4 * numel // module.in_channels * channels
        elif isinstance(module, nn.GroupNorm):
            found["statistics"] += 4 * (numel + 2 * BATCH * module.num_groups)
        elif weight is not None and weight.requires_grad:
            found["weights"] += 4 * numel

    leaves = [m for m in network.modules() if not list(m.children()) and m not in inside]
    handles = [m.register_forward_hook(add) for m in (*leaves, *blocks)]
    network(torch.randn(BATCH, 3, RESOLUTION, RESOLUTION))
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize(("backbone", "norm"), NETWORKS)
@pytest.mark.parametrize("method", METHODS)
def test_no_more_is_kept_than_the_method_needs(method: str, backbone: str, norm: str) -> None:
    config = config_of(method, backbone, norm)
    network = build_network(config, 10).network
    rule = bytes_by_rule(network)
    if method == "last":
        assert rule["bits"] == rule["statistics"] == 0
    saved = measure(network, config).saved_bytes
    # the loss keeps a few numbers for each image and class
    assert saved <= sum(rule.values()) + 4 * BATCH * (3 * 10 + 8), rule
    if method in ("last", "tinytl-bias"):  # of float activations the classifier's input alone
        assert rule["weights"] == 4 * BATCH * network.classifier.in_features


@pytest.mark.parametrize(("backbone", "norm"), NETWORKS)
def test_methods_stand_in_the_papers_order(backbone: str, norm: str) -> None:
    modeled, saved = {}, {}
    for method in METHODS:
        config = config_of(method, backbone, norm)
        network = build_network(config, 10).network
        modeled[method] = modeled_bytes(network, RESOLUTION, BATCH)
        saved[method] = measure(network, config).saved_bytes
    for numbers in (modeled, saved):
        assert numbers["last"] <= numbers["tinytl-bias"] <= numbers["tinytl-lite_residual+bias"]
        assert numbers["tinytl-lite_residual+bias"] < numbers["full"]
        assert numbers["tinytl-bias"] <= numbers["bn+last"] < numbers["full"]
        assert numbers["full+checkpointing"] < numbers["full"]
        assert numbers["last"] <= numbers["sparse-update"] < numbers["full"]
