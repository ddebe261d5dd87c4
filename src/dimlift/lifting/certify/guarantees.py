"""Which laws a plan guarantees for a network, and why it does not guarantee the others."""

from collections.abc import Sequence

from dimlift.inflation.profiles import ORIENTED
from dimlift.lifting.depth_plan import DepthPlan
from dimlift.lifting.layer_selection import SelectedConv


def unguaranteed_laws(plan: DepthPlan, convs: Sequence[SelectedConv]) -> dict[str, str]:
    """Return the reason for each law that is not guaranteed.

    The law "slices" states that every slice of any volume has its 2D output (with tubelets in the first convolution
    alone, the middle slice of each tubelet); "constancy", that a volume of one repeated slice has its 2D output.

    Args:
        plan: the depth plan.
        convs: the convolutions it inflates.
    """
    reasons: dict[str, str] = {}
    if any(conv.axes != ("depth",) for conv in convs):
        reasons["constancy"] = "kernels are inflated along more axes than depth"
    if any(conv.inflation in ORIENTED for conv in convs):
        reasons["constancy"] = f"{plan.inflation} orients kernels out of the slice"
    elif plan.depth_padding == "zero" and any(
        conv.k > 1 and (conv.k % 2 == 0 or plan.inflation != "centre") for conv in convs
    ):
        reasons["constancy"] = "kernels read zeros beyond the ends of the volume"
    elif convs and plan.inflation == "random":
        reasons["constancy"] = "depth weights are random"
    elif plan.attention == "planecycle":
        reasons["constancy"] = "blocks attend within planes other than the slice"
    if reasons or (slices := _mixing_reason(plan, convs)):
        reasons["slices"] = reasons.get("constancy") or slices
    return reasons


def _mixing_reason(plan: DepthPlan, convs: Sequence[SelectedConv]) -> str:
    if convs and plan.inflation != "centre":
        return f"{plan.inflation if isinstance(plan.inflation, str) else 'a custom profile'} averages over slices"
    if plan.strides_depth:
        return "depth is strided"
    if any(conv.k % 2 == 0 for conv in convs):
        return "an even depth kernel has no middle slice"
    if any(conv.tubelets for conv in convs) and plan.stride != "first_conv":
        return "tubelets reduce depth"
    if any(factor > 1 for factor in plan.depth_pool):
        return "depth is pooled"
    for name in ("attention", "pool", "norm"):
        if getattr(plan, name) != "per_slice":
            return f"{name} spans slices"
    return ""
