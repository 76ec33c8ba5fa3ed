"""Recomputed modules: results and gradients as before, of any input, under autocast too."""

import copy

import pytest
import torch
from torch import nn

from tinytl.nn.recomputed import Recomputed, recompute


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 3, 1)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return input + self.second(torch.relu(self.first(input)))


def gradients(block: nn.Module, images: torch.Tensor, enabled: bool) -> list[torch.Tensor | None]:
    images = images.detach().requires_grad_(images.requires_grad)
    with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        output = block(images)
    (output.float() ** 2).sum().backward()
    return [output.detach(), images.grad, *(parameter.grad for parameter in block.parameters())]


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("needs_input", [False, True])
@pytest.mark.parametrize("frozen", [(), ("first",), ("first", "second")])
def test_nothing_changes(frozen: tuple[str, ...], needs_input: bool, autocast: bool) -> None:
    torch.manual_seed(0)
    block = Block()
    for name in frozen:
        block.get_submodule(name).requires_grad_(False)
    if not needs_input and len(frozen) == 2:
        pytest.skip("there is no gradient")
    images = torch.randn(2, 3, 4, 4).requires_grad_(needs_input)
    twin = copy.deepcopy(block)
    recompute(twin)
    recompute(twin)  # a second time does nothing
    assert isinstance(twin, Block) and isinstance(twin, Recomputed)
    expected, found = gradients(block, images, autocast), gradients(twin, images, autocast)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours is theirs is None or torch.equal(ours, theirs)


def test_what_is_kept_may_lie_elsewhere() -> None:
    torch.manual_seed(0)
    block, images = Block(), torch.randn(2, 3, 4, 4)
    expected = gradients(copy.deepcopy(block), images, False)
    recompute(block)
    with torch.autograd.graph.saved_tensors_hooks(torch.clone, torch.clone):
        found = gradients(block, images, False)
    assert all(
        ours is theirs is None or torch.equal(ours, theirs)
        for ours, theirs in zip(found, expected, strict=True)
    )
