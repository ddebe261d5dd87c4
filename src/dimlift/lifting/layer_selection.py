"""Decide, before any weight is touched, which convolutions talk and how."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from dimlift.errors import PlanError, UnknownName
from dimlift.inflation.oriented import INFLATIONS, TURNED
from dimlift.inflation.profiles import Profile
from dimlift.lifting.depth_plan import DepthPlan
from dimlift.lifting.layers.attention.registry import family_of
from dimlift.lifting.stages import Stage
from dimlift.lifting.stem import image_readers


@dataclass(frozen=True)
class Place:
    """One convolution that will talk."""

    name: str
    k: int
    axes: tuple[str, ...]
    tubelets: bool
    factorised: bool
    profile: str | Profile = "centre"

    @property
    def how(self) -> str:
        """In words, for the certificate."""
        what = "factorised kernel" if self.factorised and not self.tubelets else "kernel"
        if isinstance(self.profile, str) and self.profile in INFLATIONS:
            what = f"{self.profile} {what}"
        where = "" if self.axes == ("depth",) else f" along {', '.join(self.axes)}"
        return f"{what} over {self.k} slices{where}{', as tubelets' if self.tubelets else ''}"


def place_convolutions(network: nn.Module, plan: DepthPlan, stages: list[Stage]) -> list[Place]:
    """Every convolution that gains a depth axis under this plan.

    Raises:
        PlanError: if several axes are asked for and no kernel could be cubic.
        UnknownName: if the plan names a layer or stage the network does not have.
    """
    convolutions = {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    sizes = _sizes(network, convolutions, plan, stages)
    places = []
    for name, conv in convolutions.items():
        k = sizes.get(name, 1)
        if k == 1:
            continue
        cubic = conv.kernel_size == (k, k)
        patches = plan.stride == "kernel" and _patchifies(conv) and not _inside_attention(network, name)
        tubelets = patches or plan.stride == "stem"
        profile = "centre" if plan.profile in TURNED and not cubic else plan.profile
        places.append(Place(name, k, plan.axes if cubic else ("depth",), tubelets, plan.factorised, profile))
    turns = plan.axes != ("depth",) or plan.profile in TURNED
    if turns and not any((place.axes, place.profile) == (plan.axes, plan.profile) for place in places):
        found = sorted({f"{p.k}x{convolutions[p.name].kernel_size[0]}" for p in places})
        what = plan.profile if plan.profile in TURNED else f"axes {plan.axes}"
        raise PlanError(
            f"{what} need cubic kernels and this network would have none (depth x height: "
            f"{', '.join(found) or 'no kernel above 1'}); use kernel='cubic', or axes=('depth',) and a depth profile"
        )
    return places


def _sizes(
    network: nn.Module, convolutions: Mapping[str, nn.Conv2d], plan: DepthPlan, stages: list[Stage]
) -> dict[str, int]:
    if plan.stride == "stem" and isinstance(plan.kernel, int):
        readers = image_readers(network)
        if not readers:
            raise PlanError(
                "stride='stem' lets the first convolution talk, and none reads the image; use stride='none'"
            )
        return dict.fromkeys(readers, plan.kernel)
    if plan.kernel == "cubic":
        return {name: max(conv.kernel_size) for name, conv in convolutions.items()}
    if isinstance(plan.kernel, int):
        return {name: plan.kernel for name, conv in convolutions.items() if max(conv.kernel_size) > 1}
    asked: Mapping[str, int] = plan.kernel
    modules = [name for name, _ in network.named_modules() if name]
    order = {name: index for index, name in enumerate(modules)}
    known = set(modules) | {f"stage{index}" for index in range(len(stages))}
    for name in asked:
        if name not in known and not (name.startswith("stage") and name[5:].isdigit() and not stages):
            raise UnknownName("layer or stage", name, known)
    sizes = {}
    for name, conv in convolutions.items():
        fitting = [key for key in asked if name == key or name.startswith(f"{key}.")]
        if fitting:
            longest = max(fitting, key=len)
            if longest == name or max(conv.kernel_size) > 1:
                sizes[name] = asked[longest]
        elif max(conv.kernel_size) > 1:
            sizes[name] = asked.get(f"stage{stage_of(name, order, stages)}", 1)
    return sizes


def stage_of(name: str, order: Mapping[str, int], stages: list[Stage]) -> int:
    """Modules come in the order they are used: a layer belongs to the first stage that has not ended before it.

    Args:
        order: place of each module's name among all.
    """
    for index, stage in enumerate(stages):
        inside = name == stage.module or name.startswith(f"{stage.module}.")
        if inside or order[name] < order.get(stage.module, -1):
            return index
    return max(len(stages) - 1, 0)


def _patchifies(conv: nn.Conv2d) -> bool:
    return max(conv.kernel_size) > 1 and tuple(conv.kernel_size) == tuple(conv.stride)


def _inside_attention(network: nn.Module, name: str) -> bool:
    """Keys and values may be patchified inside attention (PVT); queries are not, so depth must stay."""
    parts = name.split(".")
    owners = (network.get_submodule(".".join(parts[:n])) for n in range(1, len(parts)))
    return any(is_attention(module) for module in owners)


def is_attention(module: nn.Module) -> bool:
    """Whether a module is some kind of attention, by what its class is called or registered as."""
    if family_of(module) is not None:
        return True
    name = type(module).__name__.lower().replace("flatten", "")
    return "attention" in name or "attn" in name or "atten" in name


def is_innermost_attention(module: nn.Module) -> bool:
    """Whether a module is attention and holds no other."""
    return is_attention(module) and not any(is_attention(m) for m in module.modules() if m is not module)
