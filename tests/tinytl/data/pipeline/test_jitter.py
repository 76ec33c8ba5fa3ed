"""Colour jitter against torchvision's functions, one image after the other."""

import pytest
import torch
from torchvision.transforms.v2 import functional as theirs

from tinytl.data.pipeline import jitter
from tinytl.data.pipeline.jitter import Jitter

NAMES = ("brightness", "contrast", "saturation", "hue")
FACTORS = {
    "brightness": [0.0, 0.6, 1.0, 1.4],
    "contrast": [0.0, 0.6, 1.0, 1.4],
    "saturation": [0.0, 0.6, 1.0, 1.4],
    "hue": [-0.5, -0.1, 0.0, 0.3],
}


def noise(count: int) -> torch.Tensor:
    """Colours, in float64; some are grey, black, white, or have two equal channels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 12, 10), generator=generator).double()
    images[:, :, 0] = images[:, :1, 0]
    images[:, :, 1, :5], images[:, :, 1, 5:] = 0, 255
    images[:, 0, 2], images[:, 1, 3], images[:, 2, 4] = (
        images[:, 1, 2], images[:, 2, 3], images[:, 0, 4],
    )  # fmt: skip
    return images


def expected(name: str, image: torch.Tensor, factor: float) -> torch.Tensor:
    return getattr(theirs, f"adjust_{name}")(image / 255, factor) * 255


@pytest.mark.parametrize("name", NAMES)
def test_each_image_is_changed_by_its_factor_as_torchvision_does(name: str) -> None:
    images = noise(4)
    factors = torch.tensor(FACTORS[name], dtype=torch.float64)
    found = getattr(jitter, name)(images.clone(), factors)
    for image, factor, changed in zip(images, factors.tolist(), found, strict=True):
        assert torch.allclose(changed, expected(name, image, factor), atol=1e-3)


def test_the_changes_follow_the_order_of_each_image() -> None:
    images = noise(8)
    drawn = Jitter.draw(20, (0.4, 0.4, 0.4, 0.1), torch.Generator().manual_seed(2))
    numbers = torch.tensor([3, 19, 0, 7, 7, 12, 5, 1])
    found = images.clone()
    drawn.apply(found, numbers)
    assert len({tuple(order) for order in drawn.orders[numbers].tolist()}) > 3
    for image, number, changed in zip(images, numbers.tolist(), found, strict=True):
        for change in drawn.orders[number].tolist():
            image = expected(NAMES[change], image, float(drawn.factors[number, change]))
        assert torch.allclose(changed, image, atol=1e-3)


def test_factors_are_even_in_their_range_and_orders_are_permutations() -> None:
    drawn = Jitter.draw(4000, (0.4, 0.2, 1.5, 0.1), torch.Generator().manual_seed(0))
    low, high = torch.tensor([0.6, 0.8, 0.0, -0.1]), torch.tensor([1.4, 1.2, 2.5, 0.1])
    assert torch.allclose(drawn.factors.amin(0), low, atol=0.01)
    assert torch.allclose(drawn.factors.amax(0), high, atol=0.01)
    assert torch.allclose(drawn.factors.mean(0), (low + high) / 2, atol=0.03)
    assert (drawn.orders.sort(1).values == torch.arange(4)).all()
    first = drawn.orders[:, 0].bincount()
    assert first.min() > 900
