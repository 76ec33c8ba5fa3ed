"""Conformance: what is true of every backbone in the registry, with every norm it can have.

Where timm is installed, of three of its networks too: the smallest of each kind.
"""

import importlib.util

import pytest
import torch
import torch.nn.functional as F

from tinytl.backbones import BACKBONES, Network, find_backbone
from tinytl.backbones.insertion import insert_lite_residuals
from tinytl.config import LiteResidualConfig, SparseUpdateConfig
from tinytl.engine.convert import convert
from tinytl.methods import METHODS, Method
from tinytl.nn.lite_residual import WithLiteResidual

OF_TIMM = ("test_efficientnet", "tf_mobilenetv3_small_minimal_100", "mobilenetv4_conv_small_035")
HAS_TIMM = importlib.util.find_spec("timm") is not None
NAMES = [*BACKBONES, *(f"timm/{model}" for model in OF_TIMM if HAS_TIMM)]
CASES = [(name, norm) for name in NAMES for norm in find_backbone(name).norms]
EACH_CASE = pytest.mark.parametrize(("name", "norm"), CASES)
METHOD = METHODS["tinytl-lite_residual+bias"]
NARROW = LiteResidualConfig(width=0.125)  # what holds of wide modules holds of narrow ones, sooner


def built(name: str, norm: str, *, modules: bool = True) -> Network:
    torch.manual_seed(0)
    network = find_backbone(name).build(norm, 10, 0.0)
    if modules:
        insert_lite_residuals(network, NARROW)
    return network


def images_of(name: str) -> torch.Tensor:
    smallest = find_backbone(name).min_resolution
    return torch.randn(2, 3, smallest, smallest, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NAMES)
def test_stages_are_numbered_in_the_order_of_execution(name: str) -> None:
    with torch.device("meta"):
        network = find_backbone(name).build("gn_ws", 10, 0.0)
    stages = [point.stage for point in network.insertion_points]
    assert stages == sorted(stages)
    assert set(stages) == set(range(find_backbone(name).stages))


@pytest.mark.parametrize("name", NAMES)
def test_blocks_are_named_in_the_order_of_execution(name: str) -> None:
    with torch.device("meta"):
        network = find_backbone(name).build("gn_ws", 10, 0.0)
        called: list[str] = []
        for block in network.block_names:
            network.get_submodule(block).register_forward_hook(
                lambda *_, block=block: called.append(block)
            )
        network(torch.empty(2, 3, 224, 224))
    assert called == list(network.block_names)
    assert set(network.residual_blocks) <= set(called)
    for point in network.insertion_points:
        assert point.path in called or point.path.rpartition(".")[0] in called


INVERTED = [name for name in NAMES if not name.startswith(("resnet", "inception"))]


@pytest.mark.parametrize("name", INVERTED)
def test_stages_of_inverted_bottlenecks_start_where_there_is_no_skip_connection(name: str) -> None:
    with torch.device("meta"):
        network = find_backbone(name).build("gn_ws", 10, 0.0)
    for stage in range(find_backbone(name).stages):
        blocks = [p.path.rpartition(".")[0] for p in network.insertion_points if p.stage == stage]
        assert [block in network.residual_blocks for block in blocks] == [
            False,
            *[True] * (len(blocks) - 1),
        ]


@EACH_CASE
def test_what_is_declared_of_a_point_is_what_its_main_branch_does(name: str, norm: str) -> None:
    with torch.device("meta"):
        network = built(name, norm, modules=False)
        seen: dict[str, tuple[int, int, bool]] = {}
        for point in network.insertion_points:
            network.get_submodule(point.path).register_forward_hook(
                lambda module, inputs, output, path=point.path: seen.update(
                    {path: (inputs[0].shape[1], output.shape[1], inputs[0].shape == output.shape)}
                )
            )
        network(torch.empty(2, 3, 224, 224))
    assert list(seen) == [point.path for point in network.insertion_points]
    for point in network.insertion_points:
        channels = (point.in_channels, point.out_channels)
        same = point.stride == 1 and channels[0] == channels[1]
        assert seen[point.path] == (*channels, same)


@pytest.mark.parametrize("name", NAMES)
def test_the_smallest_images_are_the_smallest(name: str) -> None:
    smallest = find_backbone(name).min_resolution
    with torch.device("meta"):
        network = built(name, "bn_frozen")
        assert network(torch.empty(1, 3, smallest, smallest)).shape == (1, 10)
        with pytest.raises(RuntimeError):
            network(torch.empty(1, 3, smallest - 1, smallest - 1))


@EACH_CASE
def test_norms_are_those_asked_for_and_couple_no_samples(name: str, norm: str) -> None:
    network = built(name, norm).double()
    for module in network.modules():  # the final scale is zero in a new module
        if isinstance(module, WithLiteResidual):
            torch.nn.init.ones_(module.lite_residual.final_norm.weight)
    images = images_of(name).double()
    together = network(images)
    for index in range(2):
        alone = network(images[index : index + 1])
        torch.testing.assert_close(together[index : index + 1], alone)


@EACH_CASE
def test_inserting_modules_leaves_the_output_unchanged(name: str, norm: str) -> None:
    network, images = built(name, norm, modules=False).eval(), images_of(name)
    with torch.no_grad():
        before = network(images)
        insert_lite_residuals(network, NARROW)
        after = network(images)
    assert torch.equal(after, before)
    inserted = [m for m in network.modules() if isinstance(m, WithLiteResidual)]
    assert len(inserted) == len(network.insertion_points)


@pytest.mark.parametrize("method", [METHOD, METHODS["sparse-update"]], ids=lambda m: m.name)
@EACH_CASE
def test_a_step_moves_what_is_declared_and_saving_gives_its_gradients(
    name: str, norm: str, method: Method
) -> None:
    network = built(name, norm).double()
    for parameter in network.parameters():  # no zero scales, no equal biases
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    everywhere = SparseUpdateConfig(blocks=len(network.block_names), ratio=0.25)
    method.apply(network, sparse_update=everywhere)
    images, labels = images_of(name).double(), torch.tensor([1, 2])

    def gradients() -> dict[str, torch.Tensor]:
        network.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        return {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}

    plain = gradients()
    assert plain.keys() == {n for n, p in network.named_parameters() if p.requires_grad}
    convert(network)
    for parameter, gradient in gradients().items():
        scale = plain[parameter].abs().max()
        assert (gradient - plain[parameter]).abs().max() <= 1e-9 * scale, parameter


@EACH_CASE
def test_recomputed_blocks_have_the_same_gradients(name: str, norm: str) -> None:
    network = built(name, norm).double()
    for parameter in network.parameters():  # no zero scales, no equal biases
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    METHODS["full"].apply(network)
    images, labels = images_of(name).double(), torch.tensor([1, 2])

    def gradients() -> dict[str, torch.Tensor]:
        network.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        return {n: p.grad.clone() for n, p in network.named_parameters()}

    kept, names = gradients(), list(network.state_dict())
    METHODS["full+checkpointing"].apply(network)
    assert list(network.state_dict()) == names
    plain = gradients()
    convert(network)
    for found in (plain, gradients()):
        for parameter, gradient in found.items():
            scale = kept[parameter].abs().max()
            assert (gradient - kept[parameter]).abs().max() <= 1e-10 * scale, parameter


@EACH_CASE
def test_state_dicts_round_trip(name: str, norm: str) -> None:
    first, images = built(name, norm).eval(), images_of(name)
    torch.manual_seed(5)
    second = find_backbone(name).build(norm, 10, 0.0).eval()
    insert_lite_residuals(second, NARROW)
    second.load_state_dict(first.state_dict())
    assert all(first.own_name(tensor) == tensor for tensor in first.state_dict())
    with torch.no_grad():
        assert torch.equal(first(images), second(images))
