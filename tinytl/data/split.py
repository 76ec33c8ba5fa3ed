"""Stratified draws: every class gets its share, and the same draw comes out every time.

A draw depends on the labels, its size and a name, never on a run's seed, so that all trials of a
study see the same images. Images with several labels each are drawn as if all were of one class.
"""

import zlib

import torch
from torch import Tensor


def hold_out(labels: Tensor, share: float, name: str) -> tuple[Tensor, Tensor]:
    """Splits a set in two: what is kept, and about `share` of it that is held out.

    Every class keeps at least one image, and gives at least one where it has two or more.

    Args:
        labels: int64 [N], or [N, K] for several labels each.
        share: Part of the images to hold out, in (0, 1).
        name: Names the draw; another name gives another draw.

    Returns:
        Indices of the kept and of the held out images, both ascending and together 0 to N - 1.
    """
    classes = _classes(labels)
    counts = torch.bincount(classes)
    most = (counts - 1).clamp(min=0)
    taken = _allocate(counts, round(share * len(labels)), least=most.clamp(max=1), most=most)
    held = _draw(classes, taken, name)
    kept = torch.ones(len(labels), dtype=torch.bool)
    kept[held] = False
    return kept.nonzero().flatten(), held


def draw(labels: Tensor, count: int, name: str) -> Tensor:
    """Draws `count` images, or all where there are no more, with every class's share kept.

    Every class gives at least one image where `count` allows that.

    Args:
        labels: int64 [N], or [N, K] for several labels each.
        count: Images to draw.
        name: Names the draw; another name gives another draw.

    Returns:
        Indices of the drawn images, ascending.
    """
    classes = _classes(labels)
    counts = torch.bincount(classes)
    one_each = counts.clamp(max=1)
    least = one_each if count >= int(one_each.sum()) else torch.zeros_like(counts)
    return _draw(classes, _allocate(counts, count, least=least, most=counts), name)


def _classes(labels: Tensor) -> Tensor:
    """Returns what an image is drawn by, int64 [N]."""
    return labels if labels.ndim == 1 else torch.zeros(len(labels), dtype=torch.int64)


def _allocate(counts: Tensor, total: int, *, least: Tensor, most: Tensor) -> Tensor:
    """Shares `total` among classes in proportion to `counts`, by the largest remainder.

    Every class gets between its `least` and its `most`, which goes before the total.
    """
    total = min(max(total, int(least.sum())), int(most.sum()))
    quota = counts.double() * total / counts.sum()
    shares = quota.floor().long().clamp(least, most)
    while (missing := total - int(shares.sum())) != 0:
        step = 1 if missing > 0 else -1
        movable = shares < most if step > 0 else shares > least
        owed = torch.where(movable, (quota - shares) * step, -torch.inf)
        shares[int(owed.argmax())] += step
    return shares


def _draw(classes: Tensor, taken: Tensor, name: str) -> Tensor:
    """Draws `taken[c]` images of every class c: the first ones of an order that `name` fixes."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    order = torch.randperm(len(classes), generator=generator)
    drawn = [order[classes[order] == label][:number] for label, number in enumerate(taken.tolist())]
    return torch.cat(drawn).sort().values
