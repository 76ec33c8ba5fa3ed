"""Tells whether a dataset is whole: its counts, its archives, and whether its images decode."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from tinytl.data.datasets import load_parts, locate
from tinytl.data.images import Images, Parts
from tinytl.data.sources.catalogue import DatasetInfo
from tinytl.data.sources.fetch import verify_archive
from tinytl.data.sources.unpack import Progress
from tinytl.errors import DataError, DownloadError

SAMPLE = 200
"""Images of each split that are decoded unless all are asked for."""
_SHOWN = 5


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        ok: Whether it is as it must be.
        text: What was found.
    """

    ok: bool
    text: str


def check_dataset(
    info: DatasetInfo, root: Path | None, *, every_image: bool, on_progress: Progress
) -> Iterator[Finding]:
    """Looks at a dataset, part by part.

    Args:
        info: The dataset.
        root: Where it is, see `tinytl.data.locate`.
        every_image: Decode every image, not a sample.
        on_progress: Told how many of the images are decoded.

    Yields:
        Findings in the order of looking; the last one where nothing further can be looked at.

    Raises:
        DataError: If there is no such place to look at.
    """
    if info.needs_data:
        place = locate(info.name, root)
        yield Finding(True, f"{info.name} is looked for in {place}")
        yield from _archives(info, place)
    try:
        parts = load_parts(info, root)
    except DataError as error:
        yield from (Finding(False, line) for line in str(error).splitlines())
        return
    yield from _counts(info, parts)
    splits = {"training": parts.train, "validation": parts.validation, "test": parts.test}
    yield from _images({n: s for n, s in splits.items() if s is not None}, every_image, on_progress)


def _archives(info: DatasetInfo, place: Path) -> Iterator[Finding]:
    """Verifies the archives that still lie beside what was unpacked from them."""
    for archive in info.archives:
        if (place / archive.file).is_file():
            try:
                verify_archive(archive, place)
                yield Finding(True, f"{archive.file}: {archive.digest}")
            except DownloadError as error:
                yield Finding(False, str(error))


def _counts(info: DatasetInfo, parts: Parts) -> Iterator[Finding]:
    """Compares what there is with what there must be; of an own folder, says what there is."""
    found = {
        "classes": _classes(parts),
        "training images": len(parts.train),
        "validation images": len(parts.validation) if parts.validation is not None else 0,
        "test images": len(parts.test),
    }
    counts = info.counts
    if counts is None:
        expected = found
    else:
        numbers = (counts.classes, counts.train, counts.validation, counts.test)
        expected = dict(zip(found, numbers, strict=True))
    for what, number in found.items():
        if number == expected[what]:
            yield Finding(True, f"{number:,} {what}")
        else:
            yield Finding(False, f"{number:,} {what}, but there must be {expected[what]:,}")


def _classes(parts: Parts) -> int:
    """Returns how many classes have training images; with several labels each, how many labels."""
    labels = parts.train.labels
    return len(labels.unique()) if labels.ndim == 1 else labels.shape[1]


def _images(
    splits: dict[str, Images], every_image: bool, on_progress: Progress
) -> Iterator[Finding]:
    """Decodes images, evenly spread over each split."""
    chosen = []
    for images in splits.values():
        number = len(images) if every_image else min(SAMPLE, len(images))
        indices = torch.arange(number) * len(images) // max(1, number)
        chosen += [(images, index) for index in indices.tolist()]
    problems = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, problem in enumerate(pool.map(_problem, chosen), 1):
            problems += [problem] if problem else []
            on_progress(done, len(chosen))
    yield from (Finding(False, problem) for problem in problems[:_SHOWN])
    if len(problems) > _SHOWN:
        yield Finding(False, f"{len(problems) - _SHOWN:,} more images cannot be decoded")
    if not problems:
        which = "all" if every_image else "a sample of"
        yield Finding(True, f"{which} {len(chosen):,} images decoded")


def _problem(chosen: tuple[Images, int]) -> str | None:
    """Returns why an image cannot be decoded, or None."""
    images, index = chosen
    try:
        images.image(index)
    except DataError as error:
        return str(error)
    return None
