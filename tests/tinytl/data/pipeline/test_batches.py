import threading
from dataclasses import replace

import pytest
import torch

from tinytl.data import DATASETS, EvaluationTransform, training_transform
from tinytl.data.images import ArrayImages
from tinytl.data.pipeline.batches import batches
from tinytl.errors import DataError

CPU = torch.device("cpu")
COUNT = 21


class Photos:
    """Images of different sizes."""

    labels = torch.arange(COUNT) % 4

    def __len__(self) -> int:
        return COUNT

    def image(self, index: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(index)
        shape = (3, 20 + index, 40 - index)
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def epoch(images, batch_size: int, *, look_ahead: int = 0, threads: int = 1, order=None):
    generator = torch.Generator().manual_seed(3)
    transform = training_transform(
        DATASETS["cars"], 16, count=COUNT, generator=generator, crop_scale=None
    )
    order = torch.randperm(COUNT, generator=generator) if order is None else order
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return list(
            batches(images, order, batch_size, transform, device=CPU, look_ahead=look_ahead)
        )
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("order", "batch_size", "sizes"),
    [
        ([0, 1, 2, 3, 4, 5], 2, [2, 2, 2]),
        ([5, 0, 3, 1, 4], 2, [2, 2, 1]),
        (torch.tensor([4, 4, 1]), 8, [3]),
    ],
)
@pytest.mark.parametrize("look_ahead", [0, 2])
def test_batches_follow_the_order(order, batch_size, sizes, look_ahead):
    numbers = torch.arange(6)
    pixels = numbers.to(torch.uint8).view(-1, 1, 1, 1).repeat(1, 3, 10, 10)
    images = ArrayImages(pixels, numbers % 3)
    transform = EvaluationTransform(8)
    found = list(batches(images, order, batch_size, transform, device=CPU, look_ahead=look_ahead))
    assert [len(labels) for _, labels in found] == sizes
    inputs, labels = (torch.cat(part) for part in zip(*found, strict=True))
    order = torch.as_tensor(order)
    assert torch.equal(inputs, order.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 8, 8))
    assert labels.tolist() == (order % 3).tolist()


@pytest.mark.parametrize(
    "changes",
    [
        {"look_ahead": 1},
        {"look_ahead": 5},
        {"threads": 3},
        {"batch_size": 1},
        {"batch_size": 20},
        {"batch_size": 64, "threads": 2},
        {"batch_size": 5, "look_ahead": 3, "threads": 2},
    ],
    ids=str,
)
def test_inputs_are_the_same_however_they_are_made(changes):
    expected = [torch.cat(part) for part in zip(*epoch(Photos(), 8), strict=True)]
    found = zip(*epoch(Photos(), **{"batch_size": 8, **changes}), strict=True)
    for part, other in zip(found, expected, strict=True):
        assert torch.equal(torch.cat(part), other)


def test_labels_of_any_shape_stay_as_they_are():
    images = Photos()
    images.labels = torch.arange(COUNT * 40).view(COUNT, 40) % 2
    order = list(reversed(range(COUNT)))
    found = torch.cat([labels for _, labels in epoch(images, 8, order=order)])
    assert torch.equal(found, images.labels.flip(0))


class Damaged(Photos):
    """Photos of which one cannot be decoded."""

    def image(self, index: int) -> torch.Tensor:
        if index == 9:
            raise DataError("the ninth")
        return super().image(index)


@pytest.mark.parametrize(("look_ahead", "threads"), [(0, 1), (0, 2), (1, 1), (9, 1)])
def test_a_damaged_image_is_told_in_its_turn_and_no_thread_is_left(look_ahead, threads):
    before = threading.active_count()
    transform = EvaluationTransform(16)
    torch.set_num_threads(threads)
    try:
        made = batches(Damaged(), range(COUNT), 4, transform, device=CPU, look_ahead=look_ahead)
        assert [len(next(made)[1]) for _ in range(2)] == [4, 4]
        with pytest.raises(DataError, match="the ninth"):
            next(made)
    finally:
        torch.set_num_threads(1)
    assert threading.active_count() == before


@pytest.mark.parametrize(("look_ahead", "threads"), [(0, 2), (4, 1)])
def test_closing_leaves_no_thread(look_ahead, threads):
    before = threading.active_count()
    torch.set_num_threads(threads)
    try:
        made = batches(
            Photos(), range(COUNT), 2, EvaluationTransform(16), device=CPU,
            look_ahead=look_ahead,
        )  # fmt: skip
        next(made)
        assert threading.active_count() > before
        made.close()
    finally:
        torch.set_num_threads(1)
    assert threading.active_count() == before


@pytest.mark.gpu
def test_a_gpu_makes_the_same_inputs_but_for_rounding(cuda: torch.device) -> None:
    generator = torch.Generator().manual_seed(3)
    transform = training_transform(
        replace(DATASETS["cars"], colour_jitter=None), 16, count=COUNT, generator=generator,
        crop_scale=None,
    )  # fmt: skip
    made = [
        torch.cat([
            inputs.cpu()
            for inputs, _ in batches(
                Photos(), range(COUNT), 8, transform, device=device, look_ahead=3
            )
        ])
        for device in (torch.device("cpu"), cuda)
    ]  # fmt: skip
    assert (made[0].int() - made[1].int()).abs().max() <= 1  # grey level
