"""Normalisations whose statistics span positions: over the positions of all slices instead of one."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dimlift.lifting.fold import by_depth

LENGTHS = (torch.Tensor.norm, torch.norm)
POSITIONAL = (F.group_norm, F.instance_norm)


def measures_positions(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether this call takes statistics over the positions of one slice."""
    if func in POSITIONAL:
        return args[0].ndim >= 3
    if func not in LENGTHS:
        return False
    dims = args[2] if len(args) > 2 else kwargs.get("dim")  # global response normalisation (ConvNeXt V2)
    return isinstance(dims, tuple | list) and len(dims) == 2 and args[0].ndim == 4


def over_slices(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The same call with statistics over all slices of a volume."""
    x: Tensor = args[0]
    if func in LENGTHS:
        lengths = by_depth(func(*args, **kwargs))
        depth = lengths.shape[1]
        # over D copies of one slice the length grows by sqrt(D); the root mean square does not
        joint = (lengths.square().sum(1, keepdim=True) / depth).sqrt()
        return joint.expand_as(lengths).flatten(0, 2)
    view = by_depth(x)  # (B, D, E, C, *positions)
    volume = view.movedim(1, 3).flatten(0, 1)  # (B*E, C, D, *positions)
    normed = func(volume, *args[1:], **kwargs)
    return normed.unflatten(0, (view.shape[0], view.shape[2])).movedim(3, 1).flatten(0, 2)
