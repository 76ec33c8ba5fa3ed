"""Networks specialized for a dataset: the feature extractor adaptation of TinyTL (section 3.3).

The paper chose one per dataset out of a once-for-all super-net. Each is published as two files
that lie beside the paper's checkpoint: `net.config` describes the network with its lite residual
modules, `init` holds its weights, already rounded to 8 bits.
"""

import json
import math
from functools import partial
from pathlib import Path

from tinytl.backbones.architecture import Architecture
from tinytl.backbones.base import BackboneInfo, Network
from tinytl.backbones.proxyless import ProxylessNAS
from tinytl.backbones.weights import SPECIALIZED, find_file, specialized_source
from tinytl.config import Norm
from tinytl.errors import ConfigError, WeightsError, unknown_name

PREFIX = "specialized/"
# of every network of the super-net
STAGES = 6
STRIDE = 32


def find(name: str, directory: Path | None) -> BackboneInfo:
    """Returns the network `specialized/<dataset>`; its files are read when it is built.

    Args:
        name: In a configuration.
        directory: Where to look for its files first.

    Raises:
        ConfigError: If there is none for the dataset.
    """
    names = [f"{PREFIX}{dataset}" for dataset in SPECIALIZED]
    if name not in names:
        raise ConfigError(unknown_name("backbone", name, names))
    build = partial(_build, name.removeprefix(PREFIX), directory)
    return BackboneInfo(name, STAGES, ("gn_ws",), STRIDE + 1, build)


def _build(
    dataset: str, directory: Path | None, norm: Norm, classes: int, dropout: float
) -> Network:
    path = find_file(specialized_source(dataset, "net.config"), directory)
    return ProxylessNAS(_read_architecture(path), norm, classes, dropout)


def _read_architecture(path: Path) -> Architecture:
    try:
        architecture = Architecture.from_published(json.loads(path.read_bytes()))
    except (OSError, ValueError, ConfigError) as error:
        raise WeightsError(
            f"cannot read the network's description {path}: {error}; get it again"
        ) from None
    stride = 2 * math.prod(block.stride for block in architecture.blocks if block)
    if (architecture.stages, stride) != (STAGES, STRIDE):
        raise WeightsError(
            f"{path} describes no specialized network: those have {STAGES} stages and a stride of "
            f"{STRIDE}, but it has {architecture.stages} and {stride}; get another file"
        )
    return architecture
