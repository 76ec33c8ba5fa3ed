"""Backbones: one file per family, each a builder that declares its stages and insertion points."""

from tinytl.backbones import inception, mobile, proxyless, resnet
from tinytl.backbones.base import BackboneInfo, InsertionPoint, Network

BACKBONES: dict[str, BackboneInfo] = {
    name: info
    for family in (proxyless, mobile, resnet, inception)
    for name, info in family.BACKBONES.items()
}

__all__ = ["BACKBONES", "BackboneInfo", "InsertionPoint", "Network"]
