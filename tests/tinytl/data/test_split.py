from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tinytl.data.split import draw, hold_out

class_counts = st.lists(st.integers(1, 30), min_size=1, max_size=12)


def labels_of(counts: list[int]) -> torch.Tensor:
    """Labels with these counts, in a mixed order."""
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(5))]


def taken(labels: torch.Tensor, indices: torch.Tensor) -> list[int]:
    counter = Counter(labels[indices].tolist())
    return [counter[label] for label in range(int(labels.max()) + 1)]


@pytest.mark.parametrize(
    ("counts", "share", "held"),
    [
        ([20, 20, 20], 0.1, [2, 2, 2]),
        ([100, 50, 10], 0.2, [20, 10, 2]),
        ([5, 5, 5, 5], 0.1, [1, 1, 1, 1]),  # one of each, though 10 % are two
        ([1, 4], 0.5, [0, 2]),  # the only image of a class is kept
        ([2, 2], 0.99, [1, 1]),
        ([6, 5, 5], 0.25, [2, 1, 1]),  # four in all: the largest remainder gets the fourth
    ],
)
def test_every_class_gives_its_share(counts, share, held):
    labels = labels_of(counts)
    assert taken(labels, hold_out(labels, share, "x")[1]) == held


@given(class_counts, st.floats(0.01, 0.99))
def test_what_is_held_out_and_what_is_kept(counts, share):
    labels = labels_of(counts)
    kept, held = hold_out(labels, share, "x")
    assert sorted(kept.tolist() + held.tolist()) == list(range(len(labels)))
    assert kept.tolist() == sorted(kept.tolist())
    for count, number in zip(counts, taken(labels, held), strict=True):
        assert min(1, count - 1) <= number <= count - 1
    least, most = sum(min(1, c - 1) for c in counts), sum(c - 1 for c in counts)
    assert len(held) == min(max(round(share * len(labels)), least), most)


@given(class_counts, st.integers(1, 400))
def test_a_draw_has_its_size_and_every_class(counts, count):
    labels = labels_of(counts)
    numbers = taken(labels, draw(labels, count, "x"))
    assert sum(numbers) == min(count, len(labels))
    if count >= len(counts):
        assert min(numbers) >= 1
    if count <= len(labels):
        # No class is further from its share than one image and what the others must have.
        for number, size in zip(numbers, counts, strict=True):
            assert abs(number - count * size / len(labels)) <= max(1, len(counts) - 1)


def test_the_name_decides_the_draw():
    labels = labels_of([50, 50])
    global_state = torch.get_rng_state()
    first, again, other = (hold_out(labels, 0.2, name)[1].tolist() for name in ("a", "a", "b"))
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), global_state)


def test_a_draw_is_the_same_on_every_machine():
    # Written down once: a change here gives every study other images.
    _, held = hold_out(torch.tensor([0, 1] * 20), 0.2, "flowers102")
    assert held.tolist() == [7, 9, 10, 22, 26, 29, 32, 39]


def test_a_smaller_draw_is_part_of_a_larger_one():
    labels = labels_of([40, 40, 20])
    small, large = (set(draw(labels, count, "x").tolist()) for count in (10, 50))
    assert small < large


def test_several_labels_each_are_drawn_as_one_class():
    labels = torch.randint(0, 2, (50, 7), generator=torch.Generator().manual_seed(0))
    one_class = torch.zeros(50, dtype=torch.int64)
    for ours, others in (
        (hold_out(labels, 0.2, "x"), hold_out(one_class, 0.2, "x")),
        ((draw(labels, 9, "x"),), (draw(one_class, 9, "x"),)),
    ):
        assert all(torch.equal(a, b) for a, b in zip(ours, others, strict=True))
    assert len(hold_out(labels, 0.2, "x")[1]) == 10
