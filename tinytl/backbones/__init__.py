"""Backbones: one file per family, each a builder that declares its stages and insertion points."""

from pathlib import Path

from tinytl.backbones import inception, mobile, proxyless, resnet, specialized, timm
from tinytl.backbones.base import BackboneInfo, InsertionPoint, Network
from tinytl.errors import ConfigError, unknown_name

BACKBONES: dict[str, BackboneInfo] = {
    name: info
    for family in (proxyless, mobile, resnet, inception)
    for name, info in family.BACKBONES.items()
}


def find_backbone(name: str, directory: Path | None = None) -> BackboneInfo:
    """Returns the backbone of a configuration.

    Args:
        name: One of `BACKBONES`, `specialized/<dataset>` or `timm/<model>`.
        directory: Where to look first for the file that describes a specialized network.

    Raises:
        ConfigError: If there is none by that name.
    """
    if name.startswith(specialized.PREFIX):
        return specialized.find(name, directory)
    if name.startswith(timm.PREFIX):
        return timm.find(name)
    if name not in BACKBONES:
        raise ConfigError(unknown_name("backbone", name, BACKBONES))
    return BACKBONES[name]


__all__ = ["BACKBONES", "BackboneInfo", "InsertionPoint", "Network", "find_backbone"]
