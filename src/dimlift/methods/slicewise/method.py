"""Slice-by-slice segmentation: a 2D network and a 2D decoder on every slice of a volume.

This is the common use of pretrained 2D networks on volumes, and the reference for networks with depth mixing.
"""

from typing import Any, cast

from torch import nn

from dimlift.decoders.fpn import FPNDecoder
from dimlift.errors import PlanError
from dimlift.methods.supervised.volumes import Supervised
from dimlift.models.encoder_protocol import FeatureMapEncoder, map_starts, require_maps
from dimlift.models.segmenter import Segmenter


def slice_by_slice(
    encoder: nn.Module,
    num_classes: int,
    *,
    decoder: nn.Module | None = None,
    gradient_checkpointing: bool = False,
    **options: Any,
) -> Supervised:
    """Return a segmentation method without depth mixing.

    Args:
        encoder: a network lifted with `DepthPlan(kernel=1)` and `features_only=True`.
        num_classes: number of classes, background included.
        decoder: a decoder with a depth kernel of 1; an `FPNDecoder` with image skip if None.
        gradient_checkpointing: recompute activations in the backward pass.
        options: further arguments of `Supervised`.

    Raises:
        PlanError: if the plan of the encoder or the decoder mixes slices.
    """
    require_no_depth_mixing(encoder)
    depth_kernel = getattr(decoder, "depth_kernel", 1)
    if depth_kernel != 1:
        raise PlanError(f"slice-by-slice segmentation needs a decoder with depth_kernel=1, got {depth_kernel}")
    require_maps(encoder)
    maps = cast(FeatureMapEncoder, encoder)
    flat = decoder or FPNDecoder(
        maps.channels,
        maps.strides,
        num_classes,
        image_channels=maps.in_channels,
        starts=map_starts(maps),
        depth_kernel=1,
        gradient_checkpointing=gradient_checkpointing,
    )
    model = Segmenter(encoder, num_classes, decoder=flat, gradient_checkpointing=gradient_checkpointing)
    return Supervised(model, "segmentation", **options)


def require_no_depth_mixing(encoder: nn.Module) -> None:
    """Check that the plan of an encoder keeps slices separate.

    Raises:
        PlanError: naming the options that mix slices, or if the encoder has no plan.
    """
    plan: Any = getattr(encoder, "plan", None)
    if plan is None:
        raise PlanError(f"{type(encoder).__name__} has no depth plan; lift a 2D network with DepthPlan(kernel=1)")
    kernels = plan.kernel.values() if isinstance(plan.kernel, dict) else [plan.kernel]
    mixes = {
        "kernel": any(kernel != 1 for kernel in kernels),
        "depth_pool": any(factor != 1 for factor in plan.depth_pool),
        "depth_stride": plan.strides_depth,
        "attention": plan.attention not in ("per_slice", 1),
        "pool": plan.pool != "per_slice",
        "norm": plan.norm != "per_slice",
    }
    found = [f"{name}={getattr(plan, name)!r}" for name, mixing in mixes.items() if mixing]
    if found:
        raise PlanError(
            f"slice-by-slice segmentation needs a plan without depth mixing, got {', '.join(found)}; use "
            "DepthPlan(kernel=1)"
        )
