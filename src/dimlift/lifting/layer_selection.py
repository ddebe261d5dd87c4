"""Selection of the convolutions that gain a depth axis, before any weight is changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from dimlift.errors import PlanError, UnknownNameError
from dimlift.inflation.profiles import KERNEL_INFLATIONS, ORIENTED, Profile
from dimlift.lifting.depth_plan import DepthPlan
from dimlift.lifting.layers.conv_strided import DepthArgs
from dimlift.lifting.registry import attention_type
from dimlift.lifting.stages import Stage


@dataclass(frozen=True)
class SelectedConv:
    """A convolution that gains a depth axis.

    Attributes:
        name: of the layer in the network.
        k: depth of its kernel.
        axes: axes its kernel is inflated along.
        tubelets: whether it also strides by k along depth.
        factorised: whether it keeps its 2D kernel and gets a depth profile per output channel.
        inflation: how the weight is distributed over depth.
        depth_args: stride and padding along depth.
    """

    name: str
    k: int
    axes: tuple[str, ...]
    tubelets: bool
    factorised: bool
    inflation: str | Profile = "centre"
    depth_args: DepthArgs = DepthArgs()  # noqa: RUF009 - immutable

    def __str__(self) -> str:
        """Describe the kernel, for the certificate."""
        kind = "factorised kernel" if self.factorised else "kernel"
        if isinstance(self.inflation, str) and self.inflation in KERNEL_INFLATIONS:
            kind = f"{self.inflation} {kind}"
        axes = "" if self.axes == ("depth",) else f" along {', '.join(self.axes)}"
        step = f", stride {self.depth_args.step} along depth" if self.depth_args.step > 1 else ""
        zeros = ", zeros beyond the ends" if self.depth_args.zeros and self.k > 1 else ""
        return f"{kind} over {self.k} slices{axes}{', as tubelets' if self.tubelets else ''}{step}{zeros}"


def select_convs(
    network: nn.Module,
    plan: DepthPlan,
    stages: Sequence[Stage],
    stem: Mapping[str, nn.Conv2d],
    strides: Mapping[str, int],
) -> tuple[SelectedConv, ...]:
    """Return every convolution that gains a depth axis or a depth stride under this plan.

    Args:
        network: the 2D network.
        plan: how it is given depth.
        stages: of the network.
        stem: the convolutions that read the image.
        strides: depth stride of layers that have one above 1, by name.

    Raises:
        PlanError: if the plan inflates along several axes and no kernel would be cubic.
        UnknownNameError: if the plan names a layer or stage the network does not have.
    """
    convs = {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    depths = _kernel_depths(network, convs, plan, stages, stem)
    selected = []
    for name, conv in convs.items():
        k, step = depths.get(name, 1), strides.get(name, 1)
        if k == 1 and step == 1:
            continue
        cubic = k > 1 and conv.kernel_size == (k, k)
        patchifies = plan.stride == "kernel" and _patchifies(conv) and not is_inside_attention(network, name)
        tubelets = patchifies or plan.stride == "first_conv"
        selected.append(
            SelectedConv(
                name,
                k,
                axes=plan.axes if cubic else ("depth",),
                tubelets=tubelets,
                factorised=plan.factorised and not tubelets and k > 1,
                inflation="centre" if k == 1 or (plan.inflation in ORIENTED and not cubic) else plan.inflation,
                depth_args=DepthArgs(step, plan.depth_padding == "zero"),
            )
        )
    oriented = plan.inflation in ORIENTED
    as_planned = any((conv.axes, conv.inflation) == (plan.axes, plan.inflation) for conv in selected)
    if (plan.axes != ("depth",) or oriented) and not as_planned:
        found = sorted({f"{conv.k}x{convs[conv.name].kernel_size[0]}" for conv in selected})
        raise PlanError(
            f"{plan.inflation if oriented else f'axes {plan.axes}'} need cubic kernels and this network would have "
            f"none (depth x height: {', '.join(found) or 'no kernel above 1'}); use kernel='cubic', or "
            "axes=('depth',) and a depth profile"
        )
    return tuple(selected)


def _kernel_depths(
    network: nn.Module,
    convs: Mapping[str, nn.Conv2d],
    plan: DepthPlan,
    stages: Sequence[Stage],
    stem: Mapping[str, nn.Conv2d],
) -> dict[str, int]:
    if plan.stride == "first_conv" and isinstance(plan.kernel, int):
        if not stem:
            raise PlanError(
                "stride='first_conv' applies to the convolution that reads the image, and none does; use stride='none'"
            )
        return dict.fromkeys(stem, plan.kernel)
    spatial = {name: max(conv.kernel_size) for name, conv in convs.items()}
    if plan.kernel == "cubic":
        return spatial
    if isinstance(plan.kernel, int):
        return {name: plan.kernel for name, size in spatial.items() if size > 1}
    requested: Mapping[str, int] = plan.kernel
    modules = [name for name, _ in network.named_modules() if name]
    order = {name: index for index, name in enumerate(modules)}
    known = set(modules) | {f"stage{index}" for index in range(len(stages))}
    for name in requested:
        if name not in known and not (name.startswith("stage") and name[5:].isdigit() and not stages):
            raise UnknownNameError("layer or stage", name, known)
    depths = {}
    for name, size in spatial.items():
        matching = [key for key in requested if name == key or name.startswith(f"{key}.")]
        if matching:
            longest = max(matching, key=len)
            if longest == name or size > 1:
                depths[name] = requested[longest]
        elif size > 1:
            depths[name] = requested.get(f"stage{stage_of(name, order, stages)}", 1)
    return depths


def stage_of(name: str, order: Mapping[str, int], stages: Sequence[Stage]) -> int:
    """Return the index of the stage a layer belongs to: the first that has not ended before it.

    Args:
        name: of the layer.
        order: index of each module's name; modules are listed in the order they run.
        stages: of the network.
    """
    for index, stage in enumerate(stages):
        inside = name == stage.module or name.startswith(f"{stage.module}.")
        if inside or order[name] < order.get(stage.module, -1):
            return index
    return max(len(stages) - 1, 0)


def _patchifies(conv: nn.Conv2d) -> bool:
    return max(conv.kernel_size) > 1 and tuple(conv.kernel_size) == tuple(conv.stride)


def is_inside_attention(network: nn.Module, name: str) -> bool:
    """Whether a layer is part of attention: PVT patchifies keys and values but not queries, so depth must stay."""
    parts = name.split(".")
    parents = (network.get_submodule(".".join(parts[:n])) for n in range(1, len(parts)))
    return any(is_attention(module) for module in parents)


def is_attention(module: nn.Module) -> bool:
    """Whether a module computes attention, by its registration or the name of its class."""
    if attention_type(module) is not None:
        return True
    name = type(module).__name__.lower().replace("flatten", "")
    return "attention" in name or "attn" in name or "atten" in name


def is_leaf_attention(module: nn.Module) -> bool:
    """Whether a module is attention and contains no other attention module."""
    return is_attention(module) and not any(is_attention(m) for m in module.modules() if m is not module)
