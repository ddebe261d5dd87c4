"""Selection of the layers that stride along depth: those of the planned stages that have a stride within the slice."""

from collections.abc import Mapping, Sequence

from torch import nn

from dimlift.errors import PlanError, UnknownNameError
from dimlift.lifting.depth_plan import DepthPlan
from dimlift.lifting.layer_selection import is_inside_attention, stage_of
from dimlift.lifting.stages import Stage


def select_strides(network: nn.Module, plan: DepthPlan, stages: Sequence[Stage]) -> dict[str, int]:
    """Return the depth stride of every layer that has one above 1, by name; the longest name in the plan counts.

    Layers inside attention keep their depth: they stride keys and values, but not queries.

    Raises:
        PlanError: if a planned stage or module has no layer with a stride, or there are more entries than stages.
        UnknownNameError: if the plan names a layer or stage the network does not have.
    """
    if not plan.strides_depth:
        return {}
    given = plan.depth_stride
    if not isinstance(given, Mapping):
        if len(given) > len(stages):
            raise PlanError(
                f"depth_stride has {len(given)} entries, the network has {len(stages)} stages; give it {len(stages)}"
                if stages
                else "the network has no feature_info, so it has no stages to stride along depth in; name its layers: "
                "depth_stride={'layer2': 2}"
            )
        given = {f"stage{index}": step for index, step in enumerate(given)}
    modules = dict(network.named_modules())
    known = {name for name in modules if name} | {f"stage{index}" for index in range(len(stages))}
    for name in given:
        if name not in known:
            raise UnknownNameError("layer or stage", name, known)
    order = {name: index for index, name in enumerate(modules)}
    selected: dict[str, int] = {}
    planned = set()
    for name, module in modules.items():
        if not _strides(module) or is_inside_attention(network, name):
            continue
        names = [key for key in given if name == key or name.startswith(f"{key}.")]
        key = max(names, key=len) if names else f"stage{stage_of(name, order, stages)}"
        if given.get(key, 1) > 1:
            planned.add(key)
            selected[name] = given[key]
    for key, step in given.items():
        if step > 1 and key not in planned:
            raise PlanError(
                f"depth_stride of {key} is {step}, and no convolution or pool there has a stride within the slice; use "
                "depth_pool, or name one that has"
            )
    return selected


def _strides(module: nn.Module) -> bool:
    """Whether a layer has a stride within the slice: a convolution, a pool or a fixed filter."""
    stride = getattr(module, "stride", 1)
    sizes = stride if isinstance(stride, tuple | list) else (stride,)
    is_larger = all(isinstance(size, int) for size in sizes) and max(sizes, default=1) > 1
    is_pool = isinstance(module, nn.MaxPool2d | nn.AvgPool2d) or "pool" in type(module).__name__.lower()
    is_leaf = not any(True for _ in module.children())
    return is_larger and is_leaf and (is_pool or isinstance(module, nn.Conv2d))
