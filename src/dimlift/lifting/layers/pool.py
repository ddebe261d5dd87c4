"""Global pools that span all slices: squeeze-and-excite, channel attention, the pool before a classifier."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dimlift.lifting.fold import by_depth

MEANS = (torch.Tensor.mean, torch.mean)
MAXIMA = (torch.Tensor.amax, torch.amax)
ADAPTIVE = {F.adaptive_avg_pool2d: "mean", F.adaptive_max_pool2d: "max"}


def pools_globally(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """ "mean" or "max" if this call takes all positions of a slice together; else an empty string."""
    if func in ADAPTIVE:
        size = args[1] if len(args) > 1 else kwargs.get("output_size")
        return ADAPTIVE[func] if size in (1, (1, 1), [1, 1], torch.Size((1, 1))) else ""
    if func not in MEANS and func not in MAXIMA:
        return ""
    x: Tensor = args[0]
    dims = args[1] if len(args) > 1 else kwargs.get("dim")
    if dims is None:
        return ""
    chosen = {dims % x.ndim} if isinstance(dims, int) else {dim % x.ndim for dim in dims}
    positions = ({2, 3}, {1, 2}) if x.ndim == 4 else ({1},) if x.ndim == 3 else ()
    return ("mean" if func in MEANS else "max") if chosen in positions else ""


def across_slices(pooled: Tensor, how: str) -> Tensor:
    """Give every slice the mean or maximum of all slices' pools."""
    view = by_depth(pooled)
    joint = view.mean(1, keepdim=True) if how == "mean" else view.amax(1, keepdim=True)
    return joint.expand_as(view).flatten(0, 2)
