"""The call interceptor of a lifted forward: which torch functions span slices under a depth plan."""

from typing import Any

import torch
from torch import nn

from dimlift.lifting.depth_plan import DepthPlan
from dimlift.lifting.fold import current_fold
from dimlift.lifting.layers.attention.sdpa import AttentionSpanning
from dimlift.lifting.layers.call_interceptor import RESHAPES, CallHandler, CallInterceptor, TorchFunction
from dimlift.lifting.layers.norm import NormSpanning
from dimlift.lifting.layers.pool import GlobalPoolSpanning


def spanning_interceptor(plan: DepthPlan, changes_depth: bool) -> CallInterceptor | None:
    """Return the interceptor that lets attention, pools and norms span slices as planned, or None if none do.

    Args:
        plan: states what spans slices.
        changes_depth: whether depth shrinks inside the network.
    """
    handlers: list[CallHandler] = []
    if plan.attention == "volume" or isinstance(plan.attention, int):
        handlers.append(AttentionSpanning(plan.attention))
    if plan.pool == "volume":
        handlers.append(GlobalPoolSpanning())
    if plan.norm == "volume":
        handlers.append(NormSpanning())
    if changes_depth:
        handlers.append(ReshapeToCurrentDepth())
    return CallInterceptor(*handlers, TraceableUnflatten()) if handlers else None


class ReshapeToCurrentDepth:
    """Call handler: a reshape to the batch size of the network's input uses the batch size after depth pooling."""

    functions = RESHAPES

    def __call__(self, function: TorchFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Replace the leading size where it is that of the network's input."""
        return function(*_with_current_size(args), **kwargs)


class TraceableUnflatten:
    """Call handler: torch.compile cannot trace Tensor.unflatten, which is written in Python, under an interceptor."""

    functions = (torch.Tensor.unflatten,)

    def __call__(self, function: TorchFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call torch.unflatten."""
        return torch.unflatten(*args, **kwargs)


def _with_current_size(args: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(args) < 2:
        return args
    fold = current_fold()
    x, *shape = args
    current = fold.batch * fold.depth
    packed = len(shape) == 1 and isinstance(shape[0], tuple | list)
    sizes = list(shape[0]) if packed else shape
    states_initial_size = bool(sizes) and isinstance(sizes[0], int) and sizes[0] == fold.initial_size
    if not states_initial_size or x.shape[0] != current or current == fold.initial_size:
        return args
    sizes[0] = current
    return (x, tuple(sizes)) if packed else (x, *sizes)


def prefer_fused_attention(network: nn.Module) -> None:
    """Switch timm's attention layers to scaled_dot_product_attention, which can be intercepted."""
    for module in network.modules():
        if getattr(module, "fused_attn", None) is False:
            module.fused_attn = True  # type: ignore[assignment]
