"""The folder of an exported network: written whole or not at all, and loaded again."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from tinytl.backbones import Network
from tinytl.backbones.specialized import PREFIX
from tinytl.backbones.weights import find_file, specialized_source, weights_info
from tinytl.checkpoint import read_tensors
from tinytl.config import FinetuneConfig
from tinytl.engine.build import norm_of
from tinytl.errors import ConfigError, StorageError, TinyTLError, unknown_name
from tinytl.export.card import card
from tinytl.export.formats import FORMATS, difference
from tinytl.export.plain import has_modules, plain_network, used_state
from tinytl.export.restore import Trained, restore
from tinytl.nn.normalization import InputNormalization
from tinytl.storage import not_written, write_atomically

CONFIG_FILE, MEMORY_FILE, CARD_FILE = "config.yaml", "memory.json", "MODEL.md"
# of a checkpoint's metrics, what memory.json gives apart from the others
_MEMORY_NUMBERS = ("peak_bytes", "saved_bytes", "modeled_bytes")


@dataclass(frozen=True)
class Exported:
    """What `write_folder` did.

    Attributes:
        directory: The folder.
        files: Its files, by size in bytes.
        left_out: Formats that it lacks, with the reason.
        difference: The largest difference of its network's outputs from those of the network that
            was trained, on random images.
    """

    directory: Path
    files: dict[str, int]
    left_out: dict[str, str]
    difference: float


def write_folder(
    trained: Trained,
    directory: Path,
    *,
    formats: Sequence[str] = (),
    weights: Path | None = None,
    source: str = "",
) -> Exported:
    """Writes the whole network of a run, what was trained and what was not, into a new folder.

    The network is plain: stock layers, in float32, with the outputs of the one that was trained,
    which is checked. It takes uint8 images [N, 3, R, R], which it normalizes itself, and returns
    logits [N, classes].

    Args:
        trained: The run.
        directory: The folder; it is there when all is written.
        formats: Names in `FORMATS`; none for all that this machine can write.
        weights: Where to look first for the weights that the run began with.
        source: Says whose network it is.

    Raises:
        ConfigError: If the folder is there already, or a format is unknown or cannot be written.
        WeightsError: As `restore`.
        StorageError: If it cannot be written.
    """
    check_target(directory)
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise ConfigError([f"--format: {unknown_name('format', n, FORMATS)}" for n in unknown])
    original = restore(trained, weights)
    network = _plain(trained, original, weights)
    images = _images(trained.config.resolution)
    with torch.no_grad():
        distance = difference(original(images), network(images), "the plain network")
        contents, left_out = _contents(network, images, formats)
    contents[CONFIG_FILE] = _config_text(trained).encode()
    contents[MEMORY_FILE] = json.dumps(_memory(trained, source), indent=2).encode()
    contents |= _description(trained.config.backbone, weights)
    text = card(trained, network, {n: len(c) for n, c in contents.items()}, distance, source)
    contents[CARD_FILE] = text.encode()
    _write(directory, contents)
    return Exported(directory, {n: len(c) for n, c in contents.items()}, left_out, distance)


def check_target(directory: Path) -> None:
    """Checks that a folder can be made.

    Raises:
        ConfigError: If something is there already.
    """
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise ConfigError(f"--out: {directory} is there already; remove it, or name another folder")


def load(directory: Path | str) -> Network:
    """Returns the network of a folder that `write_folder` wrote, in evaluation mode, on the CPU.

    It takes uint8 images [N, 3, R, R] and returns logits [N, classes]; no parameter needs a
    gradient. The names of the classes and R are in config.yaml.

    Raises:
        StorageError: If the folder lacks a file, or one is damaged.
    """
    directory = Path(directory)
    path = directory / FORMATS["state"].file
    if not path.exists():
        raise StorageError(
            f"{directory} holds no {path.name}; give a folder that `tinytl export` wrote, with "
            "--format state among its formats"
        )
    state = read_tensors(path, torch.device("cpu"))
    described = _read_config(directory / CONFIG_FILE)
    try:
        config = FinetuneConfig.parse(described["config"])
        network = plain_network(
            config, len(described["classes"]), with_modules=has_modules(state), files=directory
        )
        network.load_state_dict(state)
        network.normalization = InputNormalization(**described["normalization"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise StorageError(
            f"{path} does not fit to {directory / CONFIG_FILE}: {str(error).splitlines()[0]}; "
            "export it again"
        ) from None
    return network.eval()


def _plain(trained: Trained, original: Network, weights: Path | None) -> Network:
    state = used_state(original)
    network = plain_network(
        _resolved(trained.config), len(trained.classes), with_modules=has_modules(state),
        files=weights,
    )  # fmt: skip
    network.load_state_dict(state)
    network.normalization = original.normalization
    return network


def _resolved(config: FinetuneConfig) -> FinetuneConfig:
    """Returns the configuration with the norm layers that belong to its weights."""
    return config.model_copy(update={"norm": norm_of(config)})


def _images(resolution: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    size = (2, 3, resolution, resolution)
    return torch.randint(256, size, dtype=torch.uint8, generator=generator)


def _contents(
    network: Network, images: Tensor, formats: Sequence[str]
) -> tuple[dict[str, bytes], dict[str, str]]:
    contents, left_out = {}, {}
    for name, format_ in FORMATS.items():
        if formats and name not in formats:
            continue
        try:
            contents[format_.file] = format_.content(network, images)
        except TinyTLError as error:
            if formats:  # it was asked for
                raise
            left_out[name] = str(error)
    return contents, left_out


def _config_text(trained: Trained) -> str:
    config = trained.config
    mean, std = weights_info(config.weights, config.backbone, config.norm).normalization
    values = {
        "classes": list(trained.classes),
        "resolution": config.resolution,
        "normalization": {"mean": list(mean), "std": list(std)},
        "config": _resolved(config).model_dump(mode="json", exclude_none=True),
    }
    return yaml.safe_dump(values, sort_keys=False, default_flow_style=None, allow_unicode=True)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise StorageError(f"cannot read {path}: {reason}; export it again") from None
    if not isinstance(values, dict):
        raise StorageError(f"{path} is not what `tinytl export` wrote; export it again")
    return values


def _memory(trained: Trained, source: str) -> dict[str, Any]:
    split = dict(trained.memory or {})
    peak_at = split.pop("peak_at", "")
    numbers = {name: trained.metrics.get(name) for name in _MEMORY_NUMBERS}
    return {
        "source": source,
        "device": trained.device,
        "epoch": trained.epoch,
        "epochs": trained.config.epochs,
        **numbers,
        "peak_at": peak_at,
        "split": {name: value for name, value in split.items() if name not in numbers},
        "metrics": _others(trained.metrics),
    }


def _others(metrics: Mapping[str, float]) -> dict[str, float]:
    return {
        name: value
        for name, value in metrics.items()
        if name not in _MEMORY_NUMBERS and not name.startswith("memory.")
    }


def _description(backbone: str, weights: Path | None) -> dict[str, bytes]:
    """Returns the file without which a specialized network cannot be built, if it is one."""
    if not backbone.startswith(PREFIX):
        return {}
    source = specialized_source(backbone.removeprefix(PREFIX), "net.config")
    return {source.file: find_file(source, weights).read_bytes()}


def _write(directory: Path, contents: Mapping[str, bytes]) -> None:
    """Writes files into a new folder, which gets its name when all are on disk."""
    partial = directory.with_name(directory.name + ".partial")
    try:
        if partial.exists():  # of an export that was killed
            shutil.rmtree(partial)
        for name, content in contents.items():
            write_atomically(partial / name, content)
        partial.replace(directory)
    except OSError as error:
        raise not_written(directory, error) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
