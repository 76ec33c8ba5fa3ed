"""Images out of the cache."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from tinytl.data.images import Images
from tinytl.data.pipeline.resize import shrink
from tinytl.data.sources.folder import FileImages


@dataclass(frozen=True)
class DecodedImages:
    """Images whose pixels lie one image behind the other.

    Attributes:
        pixels: All pixels, uint8, the channels of each side by side.
        offsets: Where each of the N images begins.
        shapes: Height and width of each.
        labels: [N, ...].
    """

    pixels: Tensor
    offsets: Sequence[int]
    shapes: Sequence[tuple[int, int]]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Tensor:
        """Returns one image, uint8 [3, H, W], without a copy; it must not be written to."""
        height, width = self.shapes[index]
        # one call, for between calls the threads that load images wait for each other
        return self.pixels.as_strided((3, height, width), (1, 3 * width, 3), self.offsets[index])


@dataclass(frozen=True)
class ShrunkImages:
    """Images whose short side is reduced where it is longer than `side`."""

    images: Images
    side: int

    @property
    def labels(self) -> Tensor:
        """The labels of the images."""
        return self.images.labels

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> Tensor:
        """Returns one image, uint8 [3, H, W]."""
        return shrink(self.images.image(index), self.side)


class PackedFiles:
    """The files of a set of images, read from one file that has them all.

    Args:
        images: The set.
        content: The files' bytes, uint8.
        offsets: Where each file begins.
        lengths: How many bytes it has.
    """

    folders: frozenset[str] = frozenset()

    def __init__(
        self, images: FileImages, content: Tensor, offsets: Sequence[int], lengths: Sequence[int]
    ) -> None:
        self.location = images.files.location  # where to look for what an error names
        self.names = images.names
        self._content = content
        self._places = dict(zip(images.names, zip(offsets, lengths, strict=True), strict=True))

    def read(self, name: str) -> bytes:
        """Returns the content of one file."""
        first, length = self._places[name]
        return self._content[first : first + length].numpy().tobytes()
