"""How much hypervolume a trial would add to a front of accuracy against memory."""

import numpy as np


class Front:
    """A front of accuracy (to be maximized, from 0) against memory (to be minimized).

    Args:
        accuracy: Of any trials; those that others beat change nothing.
        memory: Theirs.
        reference: The memory from which the hypervolume is counted.
    """

    def __init__(self, accuracy: np.ndarray, memory: np.ndarray, reference: float) -> None:
        order = np.argsort(memory, kind="stable")
        self._starts = np.concatenate([[-np.inf], memory[order]])
        self._heights = np.concatenate([[0.0], np.maximum.accumulate(accuracy[order])])
        self._ends = np.minimum(np.concatenate([memory[order], [reference]]), reference)

    def gain(self, accuracy: np.ndarray, memory: np.ndarray) -> np.ndarray:
        """Returns the hypervolume that each of several trials would add by itself.

        Between two neighbours the front is a step: a trial adds what it reaches above the step,
        from its own memory on.

        Args:
            accuracy: Of any shape, whose last axis are the trials.
            memory: One number for each trial.
        """
        widths = np.maximum(self._ends - np.maximum(memory[:, None], self._starts), 0.0)
        heights = np.maximum(accuracy[..., None] - self._heights, 0.0)
        return np.einsum("...cs,cs->...c", heights, widths)
