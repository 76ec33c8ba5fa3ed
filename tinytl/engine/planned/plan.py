"""What is recomputed together, for how many images at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True)
class Part:
    """Neighbouring blocks that are computed for a few images at a time.

    Between forward and backward only its input is kept. In the backward pass its children's inputs
    are computed again, for `images` images at a time; each child does the same inside.

    Attributes:
        children: Parts, or blocks by their index, one after another.
        images: At a time; as many as there are where that is fewer.
    """

    children: tuple["Part | int", ...]
    images: int

    @property
    def blocks(self) -> range:
        """The indices of all blocks inside."""
        first, last = self.children[0], self.children[-1]
        return range(
            first if isinstance(first, int) else first.blocks.start,
            last + 1 if isinstance(last, int) else last.blocks.stop,
        )


@dataclass(frozen=True)
class Plan:
    """How a training step is executed.

    Attributes:
        parts: Cover all blocks, or are single ones; what each takes is kept for the whole batch.
        tile_bytes: Of the activations inside a block that exist at a time.
        keeps_lite_residuals: Whether what the convolutions of lite residual modules make is kept,
            instead of being computed again.
        holds_weights: Whether weights are kept as they are used while parts are computed for a few
            images after another, instead of being made from what is stored each time.
    """

    parts: tuple[Part | int, ...]
    tile_bytes: int
    keeps_lite_residuals: bool = False
    holds_weights: bool = True

    def __str__(self) -> str:
        """Returns the plan as people read it: neighbouring parts of the same size together."""
        runs = groupby(self.parts, key=_described)
        parts = [(list(run), how) for how, run in runs]
        words = [f"{_range(run)} {how}" for run, how in parts]
        kept = ["lite residuals kept"] if self.keeps_lite_residuals else []
        made = [] if self.holds_weights else ["weights made each time"]
        return "; ".join([*words, *kept, *made, f"tiles of {self.tile_bytes / 1e6:g} MB"])


def _described(part: Part | int) -> str:
    if isinstance(part, int):
        return "once"
    together = f" in groups of {len(part.blocks)}" if len(part.blocks) > 1 else ""
    return f"again{together}, {part.images} images at a time"


def _range(parts: Sequence[Part | int]) -> str:
    first, last = parts[0], parts[-1]
    start = first if isinstance(first, int) else first.blocks.start
    end = last if isinstance(last, int) else last.blocks.stop - 1
    return f"block {start}" if start == end else f"blocks {start} to {end}"
