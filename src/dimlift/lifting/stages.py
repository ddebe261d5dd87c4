"""The stages of a network: the entries of its feature_info, and where in the module tree each ends."""

from typing import Any, NamedTuple

from torch import nn

from dimlift.errors import PlanError
from dimlift.lifting.depth_plan import DepthPlan


class Stage(NamedTuple):
    """One entry of feature_info."""

    module: str
    """Name of the module whose output ends the stage, in this network's own tree."""

    inside: bool
    """Whether the map is taken from inside a block, where depth cannot be reduced."""

    stride: float = 1.0
    """Pixels between neighbours of its map."""


def stages_of(network: nn.Module) -> list[Stage]:
    """The stages of a network; none if it has no feature_info (then nothing can be reduced)."""
    info: Any = getattr(network, "feature_info", None)
    if info is None:
        return []
    entries = info.get_dicts() if hasattr(info, "get_dicts") else list(info)
    names = dict(network.named_modules())
    stages = []
    for entry in entries:
        name = entry.get("module", "")
        spellings = (name, name.replace(".", "_", 1), f"model.{name}", f"body.{name}")
        found = next((spelling for spelling in spellings if spelling in names), "")
        inside = entry.get("hook_type") == "forward_pre" or not found
        stages.append(Stage(found, inside, float(entry.get("reduction", 1))))
    return stages


def plan_stages(plan: DepthPlan, network: nn.Module, finer: float = 1.0) -> DepthPlan:
    """The plan with kernel and reduction of each stage, where it follows the spacing of volumes.

    Args:
        finer: how many times as fine the maps will be as those of the network as it is.

    Raises:
        PlanError: if the network does not state its stages.
    """
    if plan.spacing is None:
        return plan
    stages = stages_of(network)
    if not stages:
        raise PlanError(
            "the plan follows the spacing stage by stage, and this network has no feature_info that states its stages; "
            "give kernel and reduce yourself, or lift it by name with features_only=True"
        )
    return plan.by_stage([stage.stride / finer for stage in stages], [not stage.inside for stage in stages])


def check_reduction(stages: list[Stage], reduce: tuple[int, ...]) -> None:
    """Whether depth can be reduced as planned.

    Raises:
        PlanError: if it cannot.
    """
    wanted = [factor for factor in reduce if factor > 1]
    if not wanted:
        return
    if len(reduce) > len(stages):
        raise PlanError(
            f"the plan reduces depth after {len(reduce)} stages, the network has {len(stages)}; "
            f"give reduce {len(stages)} entries"
            if stages
            else "the network has no feature_info, so it has no stages to reduce depth after; use reduce=()"
        )
    for index, (factor, stage) in enumerate(zip(reduce, stages, strict=False)):
        if factor > 1 and stage.inside:
            raise PlanError(
                f"stage {index} of this network ends inside a block ({stage.module or 'no module of that name'}), "
                f"where branches meet and depth cannot be reduced; set reduce[{index}] to 1"
            )
