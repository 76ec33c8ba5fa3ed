"""Boxes against torchvision's: the same distribution, and the same where the attempts fail."""

import pytest
import torch
from scipy.stats import ks_2samp
from torchvision.transforms import v2

from tinytl.data.pipeline.crops import Crops

SIZES = [(375, 500), (500, 375), (100, 100), (300, 1000)]
NUMBER = 3000


def drawn(count: int, scale: float, seed: int = 0) -> Crops:
    return Crops.draw(count, scale, torch.Generator().manual_seed(seed))


def boxes_of(crops: Crops, height: int, width: int) -> torch.Tensor:
    count = len(crops.places)
    return torch.tensor([crops.box(number, height, width) for number in range(count)])


def torchvision_boxes(count: int, scale: float, height: int, width: int) -> torch.Tensor:
    transform = v2.RandomResizedCrop(10, scale=(scale, 1.0))
    image = torch.empty(3, height, width)
    torch.manual_seed(1)
    found = [transform.make_params([image]) for _ in range(count)]
    return torch.tensor([[p["top"], p["left"], p["height"], p["width"]] for p in found])


def features(boxes: torch.Tensor, height: int, width: int) -> dict[str, torch.Tensor]:
    top, left, box_height, box_width = boxes.double().unbind(1)
    return {
        "area": box_height * box_width,
        "ratio": box_width / box_height,
        "top": top / (height - box_height + 1),
        "left": left / (width - box_width + 1),
        "height": box_height,
    }


@pytest.mark.parametrize("scale", [0.08, 0.22, 0.6])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_boxes_are_distributed_as_torchvisions(height: int, width: int, scale: float) -> None:
    ours = features(boxes_of(drawn(NUMBER, scale), height, width), height, width)
    theirs = features(torchvision_boxes(NUMBER, scale, height, width), height, width)
    for name, values in ours.items():
        assert ks_2samp(values.numpy(), theirs[name].numpy()).pvalue > 0.001, name


def test_the_comparison_tells_distributions_apart() -> None:
    ours = features(boxes_of(drawn(NUMBER, 0.3), 375, 500), 375, 500)
    theirs = features(torchvision_boxes(NUMBER, 0.22, 375, 500), 375, 500)
    assert ks_2samp(ours["area"].numpy(), theirs["area"].numpy()).pvalue < 1e-6


@pytest.mark.parametrize(("height", "width"), [(1000, 20), (20, 1000), (1, 50), (50, 1)])
def test_where_no_attempt_fits_the_box_is_torchvisions(height: int, width: int) -> None:
    ours = boxes_of(drawn(20, 0.9), height, width)
    theirs = torchvision_boxes(20, 0.9, height, width)
    assert torch.equal(ours, theirs)
    assert (ours == ours[0]).all()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (500, 375), (7, 1000)])
@pytest.mark.parametrize("scale", [0.01, 1.0])
def test_boxes_lie_within_the_image(height: int, width: int, scale: float) -> None:
    top, left, box_height, box_width = boxes_of(drawn(500, scale), height, width).unbind(1)
    assert (top >= 0).all() and (left >= 0).all()
    assert (box_height >= 1).all() and (box_width >= 1).all()
    assert (top + box_height <= height).all() and (left + box_width <= width).all()
