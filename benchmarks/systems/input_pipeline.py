"""Images per second of the input pipeline, beside those of torchvision's ordinary one.

    python -m benchmarks.systems.input_pipeline [--images N] [--json FILE] [--png FILE] ...

The peer is `ImageFolder`, transforms of PIL images and a `DataLoader` with worker processes; ours
has as many threads as the peer has workers. Both make training batches of the same files in turn,
and the medians of the rounds are compared: with crop and flip, and apart with colour jitter too.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks.systems.pictures import OURS, PEER, Bar, bars
from benchmarks.systems.report import finish, show
from tinytl.backbones.weights import IMAGENET
from tinytl.data import (
    DatasetInfo,
    Images,
    batches,
    cache_side,
    cached,
    load_splits,
    training_transform,
)
from tinytl.data.pipeline.ahead import pool_of
from tinytl.engine.threads import using_threads
from tinytl.nn.normalization import InputNormalization

TARGET = 5.0
"""How many times faster ours must be with crop and flip, on two processors at 224 px."""
_RUNS = {"crop_flip": False, "crop_flip_jitter": True}  # whether colours are varied too
_JITTER = (0.4, 0.4, 0.4, 0.1)
_CROP_SCALE = 0.22
_SIZES = ((500, 375), (667, 500), (375, 500), (500, 667))


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        images: How many photos are made; with `--data`, how many there are.
        resolution: Side of the inputs.
        workers: Processes of the peer, threads of ours.
        batch_size: Images in a batch.
        rounds: How often each pipeline makes all batches, after once that does not count.
    """

    images: int
    resolution: int
    workers: int
    batch_size: int
    rounds: int


def write_photos(folder: Path, count: int) -> None:
    """Writes JPEG files in two class folders that are as large and as hard to decode as photos."""
    for number in range(count):
        path = folder / "train" / f"class_{number % 2}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        _photo(number).save(path, quality=90)
    for name in ("class_0", "class_1"):
        path = folder / "test" / name / "0.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        _photo(0).save(path, quality=90)


def _photo(number: int) -> Image.Image:
    """Draws a smooth random field with texture, always the same for a number."""
    random = np.random.default_rng(number)
    width, height = _SIZES[number % len(_SIZES)]
    pixels = np.zeros((height, width, 3))
    for cells, strength in ((4, 90), (16, 40), (64, 20)):
        field = random.integers(0, 256, (cells, cells, 3), np.uint8)
        smooth = Image.fromarray(field).resize((width, height), Image.Resampling.BICUBIC)
        pixels += (np.asarray(smooth, np.float64) / 255 - 0.5) * 2 * strength
    pixels += random.normal(0, 6, (height, width, 1))
    return Image.fromarray((pixels + 128).clip(0, 255).astype(np.uint8))


def peer_batches(folder: Path, settings: Settings, *, jitter: bool) -> Iterable[Any]:
    """Returns torchvision's pipeline; each iteration is an epoch."""
    steps = [
        transforms.RandomResizedCrop(settings.resolution, scale=(_CROP_SCALE, 1.0)),
        transforms.RandomHorizontalFlip(),
        *([transforms.ColorJitter(*_JITTER)] if jitter else []),
        transforms.ToTensor(),
        transforms.Normalize(*IMAGENET),
    ]
    return DataLoader(
        ImageFolder(folder, transforms.Compose(steps)),
        settings.batch_size,
        shuffle=True,
        num_workers=settings.workers,
        persistent_workers=settings.workers > 0,
    )


class OurBatches:
    """Our pipeline; each iteration is an epoch."""

    def __init__(self, images: Images, settings: Settings, *, jitter: bool) -> None:
        self._images = images
        self._settings = settings
        info = DatasetInfo("photos", crop_scale=_CROP_SCALE)
        self._info = replace(info, colour_jitter=_JITTER) if jitter else info
        self._generator = torch.Generator().manual_seed(0)
        self._normalization = InputNormalization(*IMAGENET)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        count = len(self._images)
        transform = training_transform(
            self._info,
            self._settings.resolution,
            count=count,
            generator=self._generator,
            crop_scale=None,
        )
        order = torch.randperm(count, generator=self._generator)
        size, device = self._settings.batch_size, torch.device("cpu")
        made = batches(self._images, order, size, transform, device=device, look_ahead=0)
        with pool_of(torch.get_num_threads()) as pool:
            for inputs, labels in made:
                yield self._normalized(inputs, pool), labels

    def _normalized(self, inputs: torch.Tensor, pool: ThreadPoolExecutor) -> torch.Tensor:
        """Does what a network does, for the other pipeline's inputs are normalized too.

        Each thread does an image at a time, as each of the peer's workers. Threads below torch's
        kernels would keep the processors busy for some milliseconds after they are done, waiting
        for more, and those that make images off them.
        """
        normalized = torch.empty(inputs.shape)

        def fill(index: int) -> None:
            normalized[index] = self._normalization(inputs[index])

        list(pool.map(fill, range(len(inputs))))
        return normalized


def compare(folder: Path, settings: Settings) -> dict[str, Any]:
    """Measures both pipelines on class folders below `folder`.

    Raises:
        TinyTLError: If the images cannot be read, or the cache cannot be written.
    """
    with using_threads(settings.workers):
        return _compare(folder, settings)


def _compare(folder: Path, settings: Settings) -> dict[str, Any]:
    splits = load_splits("photos", folder, validation=0)
    side = cache_side(settings.resolution, DatasetInfo("photos", crop_scale=_CROP_SCALE), None)
    with (
        tempfile.TemporaryDirectory() as cache,
        patch.dict(os.environ, TINYTL_CACHE=cache),
    ):
        began = time.perf_counter()
        splits = cached(splits, side=side)
        build_seconds = time.perf_counter() - began
        files = [path for path in Path(cache).rglob("*") if path.is_file()]
        results: dict[str, Any] = {
            "settings": asdict(replace(settings, images=len(splits.train))),
            "cache": {
                "side": side,
                "seconds": build_seconds,
                "bytes": sum(path.stat().st_size for path in files),
                "images": len(splits.train) + len(splits.test),
            },
        }
        for name, jitter in _RUNS.items():
            peer = peer_batches(folder / "train", settings, jitter=jitter)
            ours = OurBatches(splits.train, settings, jitter=jitter)
            results[name] = _side_by_side(peer, ours, settings.rounds)
    return results


def _side_by_side(peer: Iterable[Any], ours: Iterable[Any], rounds: int) -> dict[str, Any]:
    """Returns images per second of both, which take turns."""
    rates: dict[str, list[float]] = {"peer": [], "ours": []}
    for number in range(rounds + 1):
        for name, pipeline in (("peer", peer), ("ours", ours)):
            rate = _images_per_second(pipeline)
            if number:  # the first starts workers, and reads files from the disk
                rates[name].append(rate)
    medians = {name: statistics.median(found) for name, found in rates.items()}
    return {
        "images_per_second": medians,
        "ratio": medians["ours"] / medians["peer"],
        "rounds": rates,
    }


def _images_per_second(pipeline: Iterable[Any]) -> float:
    began = time.perf_counter()
    count = sum(len(labels) for _, labels in pipeline)
    return count / (time.perf_counter() - began)


def print_results(results: dict[str, Any]) -> None:
    """Prints what `compare` returned."""
    settings, cache = results["settings"], results["cache"]
    rows = []
    for name in _RUNS:
        rate = results[name]["images_per_second"]
        rows.append(
            (
                name.replace("_", " + "),
                f"{rate['peer']:,.0f}",
                f"{rate['ours']:,.0f}",
                f"{results[name]['ratio']:.1f}x",
            )
        )
    show(
        f"images/s, {settings['images']} images at {settings['resolution']} px, "
        f"{settings['workers']} workers",
        ("", "ImageFolder + PIL", "ours", "ratio"),
        rows,
    )
    rate = results["crop_flip"]["images_per_second"]
    peer_epoch, our_epoch = (settings["images"] / rate[name] for name in ("peer", "ours"))
    first = cache["seconds"] * settings["images"] / cache["images"] + our_epoch
    print(
        f"cache: {cache['images']} images at {cache['side']} px, {cache['bytes'] / 1e6:.0f} MB, "
        f"built in {cache['seconds']:.1f} s; with it the first epoch takes {first:.1f} s and each "
        f"later one {our_epoch:.1f} s, those of the peer {peer_epoch:.1f} s"
    )


def draw(results: dict[str, Any]) -> bytes:
    """Returns the picture of what `compare` returned."""
    panels = {}
    for name in _RUNS:
        rate = results[name]["images_per_second"]
        names = Bar("ImageFolder + PIL", rate["peer"], PEER), Bar("ours", rate["ours"], OURS)
        panels[f"{name.replace('_', ' + ')}, images/s"] = names
    return bars(panels)


def main() -> int:
    """Measures, prints a table, and writes JSON and a picture where they were asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.systems.input_pipeline", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--images", type=int, default=1000, help="photos to make")
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, help="folder with train/ and test/ class folders")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--png", type=Path, help="file for the picture")
    given = parser.parse_args()
    settings = Settings(
        given.images, given.resolution, given.workers, given.batch_size, given.rounds
    )

    def measured() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as photos:
            if given.data is None:
                write_photos(Path(photos), given.images)
            return compare(given.data or Path(photos), settings)

    return finish(measured, print_results, given.json, png=given.png, draw=draw)


if __name__ == "__main__":
    sys.exit(main())
