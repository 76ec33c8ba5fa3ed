"""The target of the built-in task: real handwritten digits, which scikit-learn ships.

1,797 grey images of 8 x 8 pixels (the test set of the UCI optical recognition of handwritten
digits), of which 600 are for training and 1,197 for the test.
"""

from functools import lru_cache

import torch

from tinytl.data.images import ArrayImages, Parts
from tinytl.data.split import draw

CLASSES = tuple("0123456789")
TRAIN_IMAGES = 600


@lru_cache(maxsize=1)
def digits() -> Parts:
    """Returns the handwritten digits, white on black, with a fixed stratified split."""
    from sklearn.datasets import load_digits  # slow to import, and only needed here

    data = load_digits()
    grey = torch.from_numpy(data.images * (255 / 16)).round().to(torch.uint8)
    pixels = grey.unsqueeze(1).repeat(1, 3, 1, 1)
    labels = torch.from_numpy(data.target).long()
    train = torch.zeros(len(labels), dtype=torch.bool)
    train[draw(labels, TRAIN_IMAGES, "digits/train")] = True
    return Parts(
        classes=CLASSES,
        train=ArrayImages(pixels[train], labels[train]),
        validation=None,
        test=ArrayImages(pixels[~train], labels[~train]),
    )
