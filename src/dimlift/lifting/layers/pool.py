"""Global pools over all slices: squeeze-and-excite, channel attention, the pool before a classifier."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dimlift.lifting.fold import follow_branch, split_depth
from dimlift.lifting.layers.call_interceptor import TorchFunction, first_argument, notify_spanned

MEANS = (torch.Tensor.mean, torch.mean)
MAXIMA = (torch.Tensor.amax, torch.amax)
ADAPTIVE_POOLS: dict[TorchFunction, str] = {F.adaptive_avg_pool2d: "mean", F.adaptive_max_pool2d: "max"}


class GlobalPoolSpanning:
    """Call handler: a pool over all positions of a slice becomes a pool over all slices of its volume."""

    functions: tuple[TorchFunction, ...] = (*MEANS, *MAXIMA, *ADAPTIVE_POOLS)

    def __call__(self, function: TorchFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Pool over all slices; calls that are no global pool run unchanged."""
        reduction = global_pool_type(function, args, kwargs)
        pooled = function(*args, **kwargs)
        if not reduction:
            return pooled
        notify_spanned("global pool over all slices")
        return pool_across_slices(pooled, reduction)


def global_pool_type(function: TorchFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return "mean" or "max" for a call that pools all positions of a slice, else an empty string."""
    if function in ADAPTIVE_POOLS:
        size = args[1] if len(args) > 1 else kwargs.get("output_size")
        return ADAPTIVE_POOLS[function] if size in (1, (1, 1), [1, 1], torch.Size((1, 1))) else ""
    x = first_argument(args, kwargs)
    dims = args[1] if len(args) > 1 else kwargs.get("dim")
    if dims is None:
        return ""
    pooled_dims = {dims % x.ndim} if isinstance(dims, int) else {dim % x.ndim for dim in dims}
    spatial_dims = ({2, 3}, {1, 2}) if x.ndim == 4 else ({1},) if x.ndim == 3 else ()
    return ("mean" if function in MEANS else "max") if pooled_dims in spatial_dims else ""


def pool_across_slices(pooled: Tensor, reduction: str) -> Tensor:
    """Replace the pool of each slice by the mean or maximum over the slices of its volume."""
    follow_branch(pooled)
    view = split_depth(pooled)
    joint = view.mean(1, keepdim=True) if reduction == "mean" else view.amax(1, keepdim=True)
    return joint.expand_as(view).flatten(0, 2)
