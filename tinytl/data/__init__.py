"""Datasets: labelled images, their splits, batches and transforms."""

from tinytl.data.datasets import DATASETS, DatasetInfo, dataset_info, load_splits, locate
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
    "evaluation_transform",
    "load_splits",
    "locate",
    "training_transform",
]
