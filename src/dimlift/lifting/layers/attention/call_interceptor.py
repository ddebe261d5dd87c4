"""Reach what a network computes inside its forward: attention, pools and norms that should span slices.

These have no module to replace; they are calls. While the forward runs, the calls named here are seen and made to span
slices, and every other call passes as it is.
"""

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from dimlift.lifting.depth_plan import DepthPlan
from dimlift.lifting.fold import count_attention, current_fold, current_listener
from dimlift.lifting.layers.attention.sdpa import attend_across_slices, spans
from dimlift.lifting.layers.norm import measures_positions, over_slices
from dimlift.lifting.layers.pool import across_slices, pools_globally

WHOLE_ATTENTION = F.multi_head_attention_forward
"""torch's own layer: one call, and what happens inside cannot be seen."""

SOFTMAXES = (F.softmax, torch.softmax, torch.Tensor.softmax)
"""Attention written out by hand shows itself by its softmax."""

RESHAPES = (torch.Tensor.reshape, torch.Tensor.view, torch.reshape)


class Spanning(TorchFunctionMode):
    """Active during a lifted forward whose plan lets attention, pools or norms span slices.

    Args:
        plan: what spans slices.
        changes_depth: whether depth shrinks on the way. Then a reshape to the batch size that the network read from its
            input means the batch size of today.
    """

    def __init__(self, plan: DepthPlan, changes_depth: bool) -> None:
        super().__init__()
        self.plan = plan
        self.window = plan.attention if isinstance(plan.attention, int) or plan.attention == "joint" else None
        """Slices whose tokens see one another; None where attention keeps to its slice or plane."""
        self.changes_depth = changes_depth
        self.seen: Callable[[str], None] | None = None
        """Told the kind of each call that was made to span slices (the certificate listens)."""
        self.kept: Callable[[], None] | None = None
        """Told of each attention that stays within its slice, since it is no call that can be made to span."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one call of torch, across slices if the plan says so."""
        kwargs = kwargs or {}
        plan = self.plan
        if self.window is not None:
            if func is F.scaled_dot_product_attention:
                return self._attend(self.window, args, kwargs)
            by_hand = func is WHOLE_ATTENTION or (func in SOFTMAXES and args[0].ndim >= 3)
            if self.kept is not None and by_hand and not current_fold().alone:
                self.kept()
        if plan.pool == "joint" and (how := pools_globally(func, args, kwargs)):
            self.tell("global pool over all slices")
            return across_slices(func(*args, **kwargs), how)
        if plan.norm == "joint" and measures_positions(func, args, kwargs):
            self.tell("statistics over all slices")
            return over_slices(func, args, kwargs)
        if func is torch.Tensor.unflatten:
            func = torch.unflatten  # the method is written in Python, in a way that torch.compile does not follow
        if self.changes_depth and func in RESHAPES:
            args = _todays_size(args)
        return func(*args, **kwargs)

    def _attend(self, window: Literal["joint"] | int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        fold = current_fold()
        if fold.alone:
            return F.scaled_dot_product_attention(**given)
        if given.get("is_causal") or not spans(given["query"], given["key"], given["value"], fold):
            if self.kept is not None:
                self.kept()
            return F.scaled_dot_product_attention(**given)
        count_attention()
        self.tell(words(window))
        return attend_across_slices(F.scaled_dot_product_attention, fold, window, **given)

    def tell(self, kind: str) -> None:
        """Say that something was made to span slices."""
        if self.seen is not None:
            self.seen(kind)


def words(window: Literal["joint"] | int) -> str:
    """What such attention is called in the certificate."""
    return "joint attention" if window == "joint" else f"attention over windows of {window} slices"


def _todays_size(args: tuple[Any, ...]) -> tuple[Any, ...]:
    fold = current_fold()
    x, *shape = args
    now = fold.batch * fold.depth
    packed = len(shape) == 1 and isinstance(shape[0], tuple | list)
    sizes = list(shape[0]) if packed else shape
    if not sizes or not isinstance(sizes[0], int) or sizes[0] != fold.begun or x.shape[0] != now or now == fold.begun:
        return args
    sizes[0] = now
    return (x, tuple(sizes)) if packed else (x, *sizes)


def spanning_for(plan: DepthPlan, changes_depth: bool) -> Spanning | None:
    """What has to listen during the forward under this plan; None if nothing."""
    spans_slices = plan.attention not in ("slice", "planecycle")
    if changes_depth or spans_slices or "joint" in (plan.pool, plan.norm):
        return Spanning(plan, changes_depth)
    return None


def prefer_fused_attention(network: nn.Module) -> None:
    """Have timm's attention take its scaled_dot_product_attention branch, the one that can be seen from outside."""
    for module in network.modules():
        if getattr(module, "fused_attn", None) is False:
            module.fused_attn = True  # type: ignore[assignment]


def tell_attention(window: Literal["joint"] | int) -> None:
    """Say that a layer let its slices see one another by itself."""
    listener = current_listener()
    if isinstance(listener, Spanning):
        listener.tell(words(window))
