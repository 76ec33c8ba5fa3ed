"""What a trial would add to a front, counted twice."""

import moocore
import numpy as np
import pytest

from orchestrator.search.gain import Front


def hypervolume(accuracy, memory, reference):
    points = np.column_stack([accuracy, memory])
    return moocore.hypervolume(points, np.array([0.0, reference]), maximise=[True, False])


@pytest.mark.parametrize("seed", range(20))
def test_the_gain_is_the_difference_of_hypervolumes(seed):
    rng = np.random.default_rng(seed)
    accuracy, memory = rng.random(seed), rng.uniform(1, 10, seed)  # some beyond the reference
    tried_accuracy, tried_memory = rng.random((3, 40)), rng.uniform(1, 10, 40)
    gains = Front(accuracy, memory, 8.0).gain(tried_accuracy, tried_memory)
    before = hypervolume(accuracy, memory, 8.0) if seed else 0.0
    for member in range(3):
        for index in range(40):
            after = hypervolume(
                [*accuracy, tried_accuracy[member, index]], [*memory, tried_memory[index]], 8.0
            )
            assert gains[member, index] == pytest.approx(after - before, abs=1e-12)


CASES = [
    ("nothing yet: all of its own area", [], 0.5, 4, 0.5 * 6),
    ("as the one that is there", [(0.5, 4)], 0.5, 4, 0),
    ("better, and needs as much", [(0.5, 4)], 0.7, 4, 0.2 * 6),
    ("as good, and needs less", [(0.5, 4)], 0.5, 3, 0.5 * 1),
    ("between two", [(0.5, 2), (0.9, 8)], 0.7, 4, 0.2 * 4),
    ("beyond the reference", [], 0.9, 11, 0),
]


@pytest.mark.parametrize(("front", "accuracy", "memory", "expected"), [c[1:] for c in CASES],
                         ids=[c[0] for c in CASES])  # fmt: skip
def test_by_hand(front, accuracy, memory, expected):
    accuracies = np.array([a for a, _ in front])
    memories = np.array([m for _, m in front], dtype=float)
    (gain,) = Front(accuracies, memories, 10.0).gain(np.array([accuracy]), np.array([memory]))
    assert gain == pytest.approx(expected)
