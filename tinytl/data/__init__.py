"""Datasets: labelled images, their splits, batches and transforms."""

from tinytl.data.batches import batches
from tinytl.data.cache import cache_side, cached
from tinytl.data.catalogue import DATASETS, DatasetInfo
from tinytl.data.datasets import dataset_info, default_root, load_splits, locate, places
from tinytl.data.images import Images, Splits
from tinytl.data.transforms import (
    EvaluationTransform,
    Normalization,
    Transform,
    training_transform,
)

__all__ = [
    "DATASETS",
    "DatasetInfo",
    "EvaluationTransform",
    "Images",
    "Normalization",
    "Splits",
    "Transform",
    "batches",
    "cache_side",
    "cached",
    "dataset_info",
    "default_root",
    "load_splits",
    "locate",
    "places",
    "training_transform",
]
