import pytest
import torch

from tinytl.data.images import ArrayImages, Joined, Subset, batches


def numbered(count: int, first: int = 0) -> ArrayImages:
    """Images whose every pixel is the image's number; the label is its number modulo 3."""
    numbers = torch.arange(first, first + count)
    pixels = numbers.to(torch.uint8).view(-1, 1, 1, 1).repeat(1, 3, 2, 2)
    return ArrayImages(pixels, numbers % 3)


def numbers_of(images) -> list[int]:
    return [int(images.image(index)[0, 0, 0]) for index in range(len(images))]


def test_a_subset_has_its_images_and_labels_in_the_order_of_the_indices():
    subset = Subset(numbered(10), torch.tensor([7, 2, 2]))
    assert numbers_of(subset) == [7, 2, 2]
    assert subset.labels.tolist() == [1, 2, 2]
    assert numbers_of(Subset(subset, torch.tensor([1]))) == [2]


def test_joined_sets_lie_one_behind_the_other():
    joined = Joined(numbered(3), numbered(2, first=3))
    assert numbers_of(joined) == [0, 1, 2, 3, 4]
    assert joined.labels.tolist() == [0, 1, 2, 0, 1]


@pytest.mark.parametrize(
    ("order", "batch_size", "sizes"),
    [
        ([0, 1, 2, 3, 4, 5], 2, [2, 2, 2]),
        ([5, 0, 3, 1, 4], 2, [2, 2, 1]),
        (torch.tensor([4, 4, 1]), 8, [3]),
    ],
)
def test_batches_follow_the_order(order, batch_size, sizes):
    found = list(batches(numbered(6), order, batch_size, lambda image: image.float() / 10))
    assert [len(labels) for _, labels in found] == sizes
    inputs, labels = (torch.cat(part) for part in zip(*found, strict=True))
    order = torch.as_tensor(order)
    assert inputs.dtype == torch.float32
    assert torch.equal(inputs, (order / 10).view(-1, 1, 1, 1).expand(-1, 3, 2, 2))
    assert labels.dtype == torch.int64
    assert labels.tolist() == (order % 3).tolist()


def test_batches_draw_from_the_global_generator():
    def noisy(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        found = batches(numbered(6), range(6), 4, lambda image: image + torch.rand(3, 2, 2))
        return torch.cat([inputs for inputs, _ in found])

    assert torch.equal(noisy(1), noisy(1))
    assert not torch.equal(noisy(1), noisy(2))
