"""Datasets: labelled images, their splits, batches and transforms."""

from tinytl.data.datasets import dataset_info, default_root, load_splits, locate, places
from tinytl.data.digest import dataset_digest
from tinytl.data.images import Images, Splits
from tinytl.data.pipeline.batches import batches
from tinytl.data.pipeline.cache import cache_side, cached, clear_cache, images_directory
from tinytl.data.pipeline.transforms import (
    EvaluationTransform,
    Transform,
    training_transform,
)
from tinytl.data.sources.catalogue import DATASETS, DatasetInfo

__all__ = [
    "DATASETS",
    "DatasetInfo",
    "EvaluationTransform",
    "Images",
    "Splits",
    "Transform",
    "batches",
    "cache_side",
    "cached",
    "clear_cache",
    "dataset_digest",
    "dataset_info",
    "default_root",
    "images_directory",
    "load_splits",
    "locate",
    "places",
    "training_transform",
]
