"""Backbones: one file per family, each a builder that declares its stages and insertion points."""

from tinytl.backbones import proxyless, torchvision_mobile
from tinytl.backbones.base import BackboneInfo, InsertionPoint, Network

BACKBONES: dict[str, BackboneInfo] = {
    name: info
    for family in (proxyless, torchvision_mobile)
    for name, info in family.BACKBONES.items()
}

__all__ = ["BACKBONES", "BackboneInfo", "InsertionPoint", "Network"]
