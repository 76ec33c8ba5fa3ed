import torch

from tinytl.data.images import ArrayImages, Joined, Subset


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
