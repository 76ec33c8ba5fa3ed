"""Datasets: labelled images, their splits, batches and transforms."""

from tinytl.data.catalogue import DATASETS, DatasetInfo
from tinytl.data.datasets import dataset_info, default_root, load_splits, locate, places
from tinytl.data.images import Images, Splits, Transform, batches
from tinytl.data.transforms import evaluation_transform, training_transform

__all__ = [
    "DATASETS",
    "DatasetInfo",
    "Images",
    "Splits",
    "Transform",
    "batches",
    "dataset_info",
    "default_root",
    "evaluation_transform",
    "load_splits",
    "locate",
    "places",
    "training_transform",
]
