"""LiftContext: the facts about a 2D network and its plan that every step of a lift uses, computed once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from torch import nn

from dimlift.errors import LiftError, PlanError
from dimlift.lifting.depth_plan import DepthPlan
from dimlift.lifting.input_size import candidate_sizes, fixed_image_size
from dimlift.lifting.layer_selection import SelectedConv, is_attention, select_convs
from dimlift.lifting.layers.attention.planecycle import block_stack
from dimlift.lifting.layers.conv import conv_type
from dimlift.lifting.layers.strided_pool import StridedPool, strided_pool
from dimlift.lifting.slice_padding import SlicePadding, find_padding
from dimlift.lifting.stages import Stage, check_depth_pool, resolve_spacing, stages_of
from dimlift.lifting.stem import image_channels, set_stem_stride, stem_convs, stem_scale
from dimlift.lifting.stride_selection import select_strides


@dataclass(frozen=True)
class LiftContext:
    """What is known of a 2D network and its plan before the network is converted.

    Attributes:
        plan: the depth plan, with kernels and pools per stage where it follows the spacing.
        in_channels: channels of the volumes.
        image_channels: channels of the images the 2D network reads.
        stem: the convolutions that read the image, by name; none if a registered stem reads it.
        stages: of the network, with the strides of their maps.
        convs: the convolutions that gain a depth axis.
        pools: hooks of the pools that stride along depth, by name.
        image_size: (height, width) the network is bound to; None if it takes other sizes.
        padding: of slices to a size at which the network reads every pixel.
        trial_sizes: (height, width) of this kind to run the network at, in the order to try them.
    """

    plan: DepthPlan
    in_channels: int
    image_channels: int
    stem: Mapping[str, nn.Conv2d]
    stages: tuple[Stage, ...]
    convs: tuple[SelectedConv, ...]
    pools: Mapping[str, StridedPool]
    image_size: tuple[int, int] | None
    padding: SlicePadding
    trial_sizes: tuple[tuple[int, int], ...]

    @property
    def changes_depth(self) -> bool:
        """Whether depth shrinks inside the network, after the stem."""
        return (
            any(factor > 1 for factor in self.plan.depth_pool)
            or self.plan.strides_depth
            or any(conv.tubelets and conv.name not in self.stem for conv in self.convs)
        )


def prepare(
    network: nn.Module,
    plan: DepthPlan,
    *,
    in_channels: int | None = None,
    stem_stride: int | None = None,
    upsample: int = 1,
    trained_size: tuple[int, int] | None = None,
) -> LiftContext:
    """Set the stem's stride and check the plan against the network. No weight is changed.

    Args:
        network: the 2D network.
        plan: how it is given depth.
        in_channels: channels of the volumes; those of the 2D network if None.
        stem_stride: new stride of the first convolution.
        upsample: factor by which slices are upsampled before the network.
        trained_size: (height, width) the network was trained on.

    Raises:
        PlanError: if the plan does not fit the network.
        LiftError: if a selected convolution, or the module that reads the image, is not known.
    """
    stem = stem_convs(network)
    stages = stages_of(network)
    plan = resolve_spacing(plan, stages, upsample * stem_scale(stem, stem_stride))
    if stem_stride is not None:
        set_stem_stride(stem, stem_stride)
    channels, image_size = image_channels(network), fixed_image_size(network)
    sizes = candidate_sizes(network, trained_size)
    padding = find_padding(network, channels, image_size, sizes)
    strides = select_strides(network, plan, stages)
    convs = select_convs(network, plan, stages, stem, strides)
    pools = strides.keys() - {conv.name for conv in convs}
    context = LiftContext(
        plan=plan,
        in_channels=channels if in_channels is None else in_channels,
        image_channels=channels,
        stem=stem,
        stages=stages,
        convs=convs,
        pools={name: strided_pool(network.get_submodule(name), strides[name]) for name in strides if name in pools},
        image_size=image_size,
        padding=padding,
        trial_sizes=tuple(dict.fromkeys(padding.size(*size) for size in sizes)),
    )
    validate_plan(network, context)
    return context


def validate_plan(network: nn.Module, context: LiftContext) -> None:
    """Check that the plan fits the network.

    Raises:
        PlanError: if it does not.
        LiftError: if a selected convolution is not known, or the stem cannot take the volumes' channels.
    """
    plan, stem = context.plan, context.stem
    check_depth_pool(context.stages, plan.depth_pool)
    tubelets = {conv.name: conv.k for conv in context.convs if conv.tubelets}
    if any(name in tubelets for name in stem) and len({tubelets.get(name) for name in stem}) > 1:
        raise PlanError(
            f"the image is read by {', '.join(stem)}, which do not all take tubelets of the same depth; "
            "use stride='none'"
        )
    if plan.attention != "per_slice" and not any(is_attention(module) for module in network.modules()):
        raise PlanError(f"attention={plan.attention!r}, but this network has no attention; use attention='per_slice'")
    if plan.attention != "per_slice" and not stem:
        raise PlanError(
            f"attention={plan.attention!r} adds depth positions where a convolution reads the image, and here none "
            "does; use attention='per_slice'"
        )
    if plan.attention == "planecycle":
        block_stack(network, is_attention)
    for conv in context.convs:
        layer = cast(nn.Conv2d, network.get_submodule(conv.name))
        conv_type(layer, conv.name)
    if not stem and context.in_channels != context.image_channels:
        raise LiftError(
            f"the image is not read by a convolution, so it cannot be adapted to {context.in_channels} channels; lift "
            f"with in_chans={context.image_channels} and repeat a grey volume {context.image_channels} times"
        )
