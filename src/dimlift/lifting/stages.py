"""The stages of a network: the entries of its feature_info, and the module whose output ends each of them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import nn

from dimlift.backbones.load_report import key_aliases
from dimlift.errors import PlanError
from dimlift.lifting.depth_plan import DepthPlan


class Stage(NamedTuple):
    """One entry of feature_info."""

    module: str
    """Name of the module whose output ends the stage; empty if it is not a module of this network."""

    inside_block: bool
    """Whether the map is taken inside a block, where depth cannot be pooled."""

    stride: float = 1.0
    """In-plane stride of its map, in pixels."""


def stages_of(network: nn.Module) -> tuple[Stage, ...]:
    """Return the stages of a network; none if it has no feature_info, so that depth cannot be pooled."""
    info: Any = getattr(network, "feature_info", None)
    if info is None:
        return ()
    entries = info.get_dicts() if hasattr(info, "get_dicts") else list(info)
    names = dict(network.named_modules())
    stages = []
    for entry in entries:
        module = next((name for name in key_aliases(entry.get("module", "")) if name in names), "")
        inside_block = entry.get("hook_type") == "forward_pre" or not module
        stages.append(Stage(module, inside_block, float(entry.get("reduction", 1))))
    return tuple(stages)


def resolve_spacing(plan: DepthPlan, stages: Sequence[Stage], scale: float = 1.0) -> DepthPlan:
    """Return the plan with kernels and depth pools per stage, if it follows the spacing of the volumes.

    Args:
        plan: the plan.
        stages: of the network.
        scale: factor by which the lifted network's maps are finer than those of the 2D network.

    Raises:
        PlanError: if the network does not state its stages.
    """
    if plan.spacing is None:
        return plan
    if not stages:
        raise PlanError(
            "the plan follows the spacing stage by stage, and this network has no feature_info that states its stages; "
            "set kernel and depth_pool instead, or lift the network by name with features_only=True"
        )
    return plan.for_stages([stage.stride / scale for stage in stages], [not stage.inside_block for stage in stages])


def check_depth_pool(stages: Sequence[Stage], depth_pool: Sequence[int]) -> None:
    """Check that depth can be pooled after the planned stages.

    Raises:
        PlanError: if it cannot.
    """
    if all(factor == 1 for factor in depth_pool):
        return
    if len(depth_pool) > len(stages):
        raise PlanError(
            f"the plan pools depth after {len(depth_pool)} stages, the network has {len(stages)}; "
            f"give depth_pool {len(stages)} entries"
            if stages
            else "the network has no feature_info, so it has no stages to pool depth after; use depth_pool=()"
        )
    for index, (factor, stage) in enumerate(zip(depth_pool, stages, strict=False)):
        if factor > 1 and stage.inside_block:
            raise PlanError(
                f"stage {index} of this network ends inside a block ({stage.module or 'no module of that name'}), "
                f"where branches meet and depth cannot be pooled; set depth_pool[{index}] to 1"
            )
