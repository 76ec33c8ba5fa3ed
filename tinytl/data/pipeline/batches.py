"""Batches of inputs on the device that trains."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from tinytl.data.images import Images
from tinytl.data.pipeline.ahead import ahead, pool_of
from tinytl.data.pipeline.transforms import Transform

LOADERS = 4
"""Threads that load batches in advance."""
_SLICE = 8  # images that one thread prepares at a time; they should stay in its cache


def batches(
    images: Images,
    order: Sequence[int] | Tensor,
    batch_size: int,
    transform: Transform,
    *,
    device: torch.device,
    look_ahead: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields the images at the indices of `order` as inputs on the device.

    What comes depends on neither `look_ahead` nor the number of threads, nor an image on the others
    in its batch.

    Args:
        images: The images.
        order: Their indices.
        batch_size: How many are in a batch; the last one may have fewer.
        transform: Makes the inputs.
        device: Where the inputs are made.
        look_ahead: How many batches threads load into memory while another one is in use, for
            devices that compute while the processor is free; 0 loads and prepares each when it is
            asked for, with as many threads as torch uses.

    Yields:
        Inputs, uint8 [N, 3, R, R], and their labels, [N, ...].

    Raises:
        DataError: If an image cannot be read or decoded.
    """
    order = torch.as_tensor(order, dtype=torch.int64)
    numbers = torch.arange(len(order)).split(batch_size)
    load = partial(_crops, images, order, transform)
    if look_ahead:
        made = _loaded(load, numbers, transform, device, look_ahead)
    else:
        made = _inline(load, numbers, transform, device)
    with closing(made):
        for chunk, inputs in zip(numbers, made, strict=True):
            yield inputs, images.labels[order[chunk]].to(device)


def _crops(images: Images, order: Tensor, transform: Transform, numbers: Tensor) -> list[Tensor]:
    pairs = zip(order[numbers].tolist(), numbers.tolist(), strict=True)
    return [transform.crop(images.image(index), number) for index, number in pairs]


_Load = Callable[[Tensor], list[Tensor]]


def _inline(
    load: _Load, numbers: Sequence[Tensor], transform: Transform, device: torch.device
) -> Generator[Tensor, None, None]:
    def fill(inputs: Tensor, part: Tensor) -> None:
        transform.fill(inputs, [crop.to(device) for crop in load(part)], part)

    threads = torch.get_num_threads()
    with pool_of(threads) as pool:
        run = pool.map if threads > 1 else map
        for chunk in numbers:
            inputs = _empty(len(chunk), transform, device)
            list(run(fill, inputs.split(_SLICE), chunk.split(_SLICE)))
            yield inputs


def _loaded(
    load: _Load,
    numbers: Sequence[Tensor],
    transform: Transform,
    device: torch.device,
    look_ahead: int,
) -> Generator[Tensor, None, None]:
    def packed(chunk: Tensor) -> _Packed:
        return _Packed.of(load(chunk), pinned=device.type == "cuda")

    with closing(ahead(packed, numbers, threads=LOADERS, depth=look_ahead)) as loaded:
        for chunk, crops in zip(numbers, loaded, strict=True):
            inputs = _empty(len(chunk), transform, device)
            transform.fill(inputs, crops.on(device), chunk)
            yield inputs


def _empty(count: int, transform: Transform, device: torch.device) -> Tensor:
    side = transform.resolution
    return torch.empty(count, 3, side, side, dtype=torch.uint8, device=device)


@dataclass(frozen=True)
class _Packed:
    """Crops one behind the other, so that they reach a device in one transfer."""

    pixels: Tensor
    sizes: list[tuple[int, int]]

    @classmethod
    def of(cls, crops: Sequence[Tensor], *, pinned: bool) -> "_Packed":
        """Packs crops, into memory that a device can read by itself if it is `pinned`."""
        count = sum(crop.numel() for crop in crops)
        packed = cls(
            torch.empty(count, dtype=torch.uint8, pin_memory=pinned),
            [(crop.shape[1], crop.shape[2]) for crop in crops],
        )
        for place, crop in zip(packed.on(packed.pixels.device), crops, strict=True):
            place.copy_(crop)
        return packed

    def on(self, device: torch.device) -> list[Tensor]:
        """Returns the crops, uint8 [3, h, w], on the device."""
        pixels = self.pixels.to(device, non_blocking=True)
        parts = pixels.split([3 * height * width for height, width in self.sizes])
        return [
            part.view(*size, 3).permute(2, 0, 1)
            for part, size in zip(parts, self.sizes, strict=True)
        ]
