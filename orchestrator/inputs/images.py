"""Decodes a dataset's images once, before the first trial that uses them."""

from collections.abc import Iterable

from rich.console import Console
from rich.progress import Progress as Bar

from tinytl.data import Splits, cache_side, cached, dataset_info


def cache_images(
    splits: Splits,
    *,
    resolution: int,
    crop_scales: Iterable[float | None],
    limit_bytes: int | None,
    console: Console,
) -> None:
    """Decodes the images that trials will share, so that the first of them need not.

    Args:
        splits: The dataset.
        resolution: The largest of the trials.
        crop_scales: Those of the trials.
        limit_bytes: The most that the cache may keep of the dataset; None for the default.
        console: Shows how far it is.
    """
    info = dataset_info(splits.name)
    sides = {cache_side(resolution, info, scale) for scale in crop_scales}
    with Bar(console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task(f"decoding the images of {splits.name}", total=None)

        def on_progress(done: int, total: int) -> None:
            shown.update(task, completed=done, total=total)

        for side in sorted(sides):
            cached(splits, side=side, limit_bytes=limit_bytes, on_progress=on_progress)
