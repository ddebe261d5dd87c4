"""Which laws a plan promises for a network, and why not where it does not."""

from dimlift.inflation.oriented import TURNED
from dimlift.lifting.depth_plan import DepthPlan
from dimlift.lifting.layer_selection import Place


def unclaimed(plan: DepthPlan, places: list[Place]) -> dict[str, str]:
    """For each law that is not promised, the reason.

    "slices": every slice (of a plan of tubelets in the stem alone: the middle one of each) answers as in 2D, on any
    volume. "constancy": a volume of one slice repeated does.
    """
    reasons: dict[str, str] = {}
    if any(place.axes != ("depth",) for place in places):
        reasons["constancy"] = "kernels lie along more axes than depth"
    if any(place.profile in TURNED for place in places):
        reasons["constancy"] = f"{plan.profile} turns kernels out of the slice"
    elif places and plan.profile == "random":
        reasons["constancy"] = "depth is random"
    elif plan.attention == "planecycle":
        reasons["constancy"] = "blocks see planes other than the slice"
    if reasons or (slices := _slices_reason(plan, places)):
        reasons["slices"] = reasons.get("constancy") or slices
    return reasons


def _slices_reason(plan: DepthPlan, places: list[Place]) -> str:
    if places and plan.profile != "centre":
        return f"profile {plan.profile if isinstance(plan.profile, str) else 'of your own'} blends slices"
    if any(place.k % 2 == 0 for place in places):
        return "an even depth kernel has no middle slice"
    if any(place.tubelets for place in places) and plan.stride != "stem":
        return "tubelets reduce depth"
    if any(factor > 1 for factor in plan.reduce):
        return "depth is reduced"
    for name in ("attention", "pool", "norm"):
        if getattr(plan, name) != "slice":
            return f"{name} spans slices"
    return ""
