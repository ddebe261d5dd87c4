"""Normalisation with statistics over the positions of all slices instead of one."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dimlift.lifting.fold import follow_branch, split_depth
from dimlift.lifting.layers.call_interceptor import TorchFunction, first_argument, notify_spanned

VECTOR_NORMS = (torch.Tensor.norm, torch.norm)
POSITIONAL_NORMS = (F.group_norm, F.instance_norm)


class NormSpanning:
    """Call handler: statistics that span the positions of a slice span those of all slices of its volume."""

    functions = (*VECTOR_NORMS, *POSITIONAL_NORMS)

    def __call__(self, function: TorchFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Normalise over all slices; calls that do not span positions run unchanged."""
        if not is_positional_norm(function, args, kwargs):
            return function(*args, **kwargs)
        notify_spanned("statistics over all slices")
        return norm_across_slices(function, args, kwargs)


def is_positional_norm(function: TorchFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call computes statistics over the positions of a slice."""
    x = first_argument(args, kwargs)
    if function in POSITIONAL_NORMS:
        return x.ndim >= 3
    dims = args[2] if len(args) > 2 else kwargs.get("dim")  # global response normalisation (ConvNeXt V2)
    return isinstance(dims, tuple | list) and len(dims) == 2 and x.ndim == 4


def norm_across_slices(function: TorchFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Run the call with statistics over all slices of a volume."""
    follow_branch(first_argument(args, kwargs))
    if function in VECTOR_NORMS:
        norms = split_depth(function(*args, **kwargs))
        depth = norms.shape[1]
        # over D copies of one slice the vector norm grows by sqrt(D); the root mean square does not
        joint = (norms.square().sum(1, keepdim=True) / depth).sqrt()
        return joint.expand_as(norms).flatten(0, 2)
    view = split_depth(first_argument(args, kwargs))  # (B, D, E, C, *positions)
    volume = view.movedim(1, 3).flatten(0, 1)  # (B*E, C, D, *positions)
    others = {name: value for name, value in kwargs.items() if name != "input"}
    normed = function(volume, *args[1:], **others)
    return normed.unflatten(0, (view.shape[0], view.shape[2])).movedim(3, 1).flatten(0, 2)
