"""Backbones: 2D networks by name, from timm, torchvision, transformers, smp and a packaged file."""

from dimlift.backbones.factory import SOURCES, create_backbone
from dimlift.backbones.info import BackboneInfo

__all__ = ["SOURCES", "BackboneInfo", "create_backbone"]
