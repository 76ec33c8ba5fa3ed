"""The points of the paper, to be laid beside one's own."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

_FILE = Path(__file__).with_name("paper.yaml")


@cache
def paper_points() -> dict[str, list[dict[str, Any]]]:
    """Returns what Tables 2 and 3 say of each dataset.

    Each point has a `label`, `modeled_bytes` and `test_accuracy`, in [0, 1]: the paper's memory is
    modeled, not measured, and the accuracy that of the test images.
    """
    content = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    _, _, *datasets = content["columns"]
    found: dict[str, list[dict[str, Any]]] = {dataset: [] for dataset in datasets}
    for label, megabytes, *accuracies in content["rows"]:
        for dataset, accuracy in zip(datasets, accuracies, strict=True):
            if accuracy is not None:
                point = {"modeled_bytes": megabytes * 10**6, "test_accuracy": accuracy / 100}
                found[dataset].append({"label": label, **point})
    return found
