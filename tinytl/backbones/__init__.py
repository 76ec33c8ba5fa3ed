"""Backbones: one file per family, each a builder that declares its stages and insertion points."""

from tinytl.backbones.base import BackboneInfo, InsertionPoint, Network
from tinytl.backbones.proxyless import BACKBONES

__all__ = ["BACKBONES", "BackboneInfo", "InsertionPoint", "Network"]
