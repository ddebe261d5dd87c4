"""Weights of a network that was trained on images of another number of channels (`in_chans` of timm)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def channels_in_file(tensors: Mapping[str, Tensor], network: nn.Module) -> dict[str, int]:
    """Return the first convolutions whose kernels in a file read another number of channels.

    Args:
        tensors: of the file, by the network's names.
        network: as published.

    Returns:
        By key of the kernel, the channels in the file; empty if a kernel differs in anything else.
    """
    convs = {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    published = next((conv.in_channels for conv in convs.values()), 0)
    stem = {f"{name}.weight": conv for name, conv in convs.items() if conv.in_channels == published}
    stem = stem if published == 3 else dict(list(stem.items())[:1])
    found = {}
    for key, conv in stem.items():
        old, new = tuple(tensors[key].shape) if key in tensors else (), tuple(conv.weight.shape)
        if len(old) != 4 or conv.groups != 1 or old[1] == new[1] or (old[0], *old[2:]) != (new[0], *new[2:]):
            return {}
        found[key] = old[1]
    return found if len(set(found.values())) == 1 else {}


def set_image_channels(network: nn.Module, channels: Mapping[str, int]) -> None:
    """Give the first convolutions kernels for another number of channels, in place.

    Args:
        network: changed in place.
        channels: as `channels_in_file` returns them.
    """
    for key, count in channels.items():
        parts = key.split(".")[:-1]
        conv: Any = network.get_submodule(".".join(parts))
        published = conv.in_channels
        kernel = torch.empty(conv.weight.shape[0], count, *conv.weight.shape[2:], dtype=conv.weight.dtype)
        conv.weight = nn.Parameter(kernel, requires_grad=conv.weight.requires_grad)
        conv.in_channels = count
        for depth in range(len(parts)):  # transformers compares the images with these
            owner: Any = network.get_submodule(".".join(parts[:depth]))
            for name in ("num_channels", "in_chans"):
                if getattr(owner, name, None) == published:
                    setattr(owner, name, count)
