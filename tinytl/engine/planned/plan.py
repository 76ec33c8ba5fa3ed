"""What is recomputed together, for how many images at a time."""

from dataclasses import dataclass


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
    """

    parts: tuple[Part | int, ...]
    tile_bytes: int

    def __str__(self) -> str:
        """Returns the plan as people read it."""
        parts = "; ".join(_described(part) for part in self.parts if isinstance(part, Part))
        kept = [part for part in self.parts if isinstance(part, int)]
        alone = f"blocks {kept[0]} to {kept[-1]} are not computed again" if kept else ""
        tiles = f"tiles of {self.tile_bytes / 1e6:g} MB"
        return "; ".join(filter(None, (parts, alone, tiles)))


def _described(part: Part) -> str:
    blocks = part.blocks
    which = (
        f"blocks {blocks.start} to {blocks.stop - 1}" if len(blocks) > 1 else f"block {blocks[0]}"
    )
    return f"{which} again, {part.images} at a time"
