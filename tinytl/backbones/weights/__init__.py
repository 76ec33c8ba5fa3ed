"""Pre-trained weights: which there are, where their files come from, and how they are loaded."""

from tinytl.backbones.weights.files import find_file, find_weights
from tinytl.backbones.weights.loading import (
    load_backbone,
    load_lite_residuals,
    read_weights,
    save_for_reference,
)
from tinytl.backbones.weights.sources import (
    HALF,
    IMAGENET,
    RANDOM,
    SPECIALIZED,
    WEIGHTS,
    Source,
    WeightsInfo,
    specialized_source,
    weights_info,
)
from tinytl.storage import cache_directory

__all__ = [
    "HALF",
    "IMAGENET",
    "RANDOM",
    "SPECIALIZED",
    "WEIGHTS",
    "Source",
    "WeightsInfo",
    "cache_directory",
    "find_file",
    "find_weights",
    "load_backbone",
    "load_lite_residuals",
    "read_weights",
    "save_for_reference",
    "specialized_source",
    "weights_info",
]
