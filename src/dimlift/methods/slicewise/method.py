"""Slice by slice: a 2D network and a 2D decoder on every slice of a volume, none of which sees another.

The usual way to use a pretrained 2D network on volumes, and the reference every lifted network is held against.
"""

from typing import Any, cast

from torch import nn

from dimlift.decoders.light import LightDecoder
from dimlift.errors import PlanError
from dimlift.methods.supervised.volumes import Supervised
from dimlift.models.encoder_protocol import MapEncoder, require_maps
from dimlift.models.segmenter import Segmenter


def slice_by_slice(
    encoder: nn.Module,
    classes: int,
    *,
    decoder: nn.Module | None = None,
    gradient_checkpointing: bool = False,
    **training: Any,
) -> Supervised:
    """A segmentation method in which no slice talks.

    Args:
        encoder: a network lifted with `DepthPlan(kernel=1)` and `features_only=True`.
        classes: number of classes, background included.
        decoder: one whose depth kernel is 1; a `LightDecoder` with an image path if not given.
        gradient_checkpointing: recompute activations in the backward pass.
        training: what `Supervised` takes: criterion, encoder_scale, layer_decay, freeze_encoder_until.

    Raises:
        PlanError: if the encoder's plan or the decoder lets slices talk, or merges them.
    """
    raise_if_slices_talk(encoder)
    deep = getattr(decoder, "depth_kernel", 1)
    if deep != 1:
        raise PlanError(f"slice by slice needs a decoder in which no slice talks, got depth_kernel={deep}; use 1")
    maps = cast(MapEncoder, encoder)
    require_maps(encoder)
    flat = decoder or LightDecoder(
        maps.channels,
        maps.strides,
        classes,
        image_channels=maps.in_channels,
        depth_kernel=1,
        gradient_checkpointing=gradient_checkpointing,
    )
    model = Segmenter(encoder, classes, decoder=flat, gradient_checkpointing=gradient_checkpointing)
    return Supervised(model, "segmentation", **training)


def raise_if_slices_talk(encoder: nn.Module) -> None:
    """Raises: PlanError, if the encoder's plan is not one of separate slices, naming what talks."""
    plan: Any = getattr(encoder, "plan", None)
    if plan is None:
        raise PlanError(f"{type(encoder).__name__} carries no depth plan; lift a 2D network with DepthPlan(kernel=1)")
    kernels = plan.kernel.values() if isinstance(plan.kernel, dict) else [plan.kernel]
    talking = {
        "kernel": any(kernel != 1 for kernel in kernels),
        "reduce": any(step != 1 for step in plan.reduce),
        "attention": plan.attention not in ("slice", 1),
        "pool": plan.pool != "slice",
        "norm": plan.norm != "slice",
    }
    found = [f"{name}={getattr(plan, name)!r}" for name, talks in talking.items() if talks]
    if found:
        raise PlanError(
            f"slice by slice needs a plan in which no slice talks, got {', '.join(found)}; use DepthPlan(kernel=1)"
        )
