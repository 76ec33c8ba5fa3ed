import numpy as np
import torch
from sklearn.datasets import load_digits

from tinytl.data.sources.digits import CLASSES, digits


def test_every_image_of_scikit_learn_is_in_one_split():
    parts = digits()
    assert (len(parts.train), len(parts.test), parts.validation) == (600, 1197, None)
    assert parts.classes == CLASSES == tuple(map(str, range(10)))
    found = sorted(
        (label, images.image(index).numpy().tobytes())
        for images in (parts.train, parts.test)
        for index, label in enumerate(images.labels.tolist())
    )
    data = load_digits()
    grey = np.floor(data.images * 255 / 16 + 0.5).astype(np.uint8)
    expected = sorted(
        (int(label), np.stack([image] * 3).tobytes())
        for label, image in zip(data.target, grey, strict=True)
    )
    # Halves round to even in one and up in the other; there is only one, 8 / 16 of 255.
    assert [label for label, _ in found] == [label for label, _ in expected]
    differences = [
        np.abs(np.frombuffer(a, np.uint8).astype(int) - np.frombuffer(b, np.uint8)).max()
        for (_, a), (_, b) in zip(found, expected, strict=True)
    ]
    assert max(differences) <= 1


def test_the_split_is_stratified():
    parts = digits()
    shares = parts.train.labels.bincount() / (
        parts.train.labels.bincount() + parts.test.labels.bincount()
    )
    assert torch.allclose(shares, torch.full((10,), 600 / 1797), atol=1 / 170)


def test_images_are_white_on_black():
    images = digits().train
    assert images.pixels.shape == (600, 3, 8, 8)
    assert images.pixels.dtype == torch.uint8
    assert images.pixels.min() == 0 and images.pixels.max() == 255
    assert images.pixels[:, :, :, 0].float().mean() < 10  # the left edge is paper
