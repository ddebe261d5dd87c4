"""Shapes of a lifted network's outputs and the extent of its attention, from a run on the meta device."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch

from dimlift.errors import LiftError, PlanError
from dimlift.lifting.certify.attention_coverage import attention_hint, record_attention
from dimlift.lifting.certify.certificate import some_names
from dimlift.lifting.input_size import SIZE_ERRORS
from dimlift.lifting.layers.slice_pooling import SlicePool
from dimlift.lifting.lifted_module import LiftedModule
from dimlift.lifting.meta_device import run_on_meta


def infer_outputs(lifted: LiftedModule, sizes: Sequence[tuple[int, int]]) -> None:
    """Set the channels and strides of the maps, and record which attention stays within its slice.

    A network that returns logits gets its slice pool here.

    Args:
        lifted: changed in place. If it is bound to an image size, this is set to the one that works.
        sizes: (height, width) to try.

    Raises:
        LiftError: if the network runs at none of the sizes.
        PlanError: if the plan lets attention span slices, and none of the network's does.
    """
    attention = lifted.plan.attention
    if attention == "per_slice":
        _infer_shapes(lifted, sizes)
        return
    if attention == "planecycle":
        try:
            _infer_shapes(lifted, sizes)
        except LiftError as fault:
            raise PlanError(
                "attention='planecycle' needs blocks that keep the tokens of a slice on its patch grid, which those of "
                f"this network do not ({fault}); use attention='volume' or a window of slices"
            ) from fault
        return
    with record_attention(lifted.network) as coverage:
        _infer_shapes(lifted, sizes)
    lifted.attention_within_slices = tuple(coverage.skipped)
    if not coverage.spanned:
        raise PlanError(
            f"attention={attention!r}, but no attention of this network calls scaled_dot_product_attention on the "
            f"tokens of a slice ({some_names(coverage.skipped) or 'none is called'}); use attention='per_slice'"
            f"{attention_hint(lifted.network, lifted.attention_within_slices)}"
        )


def _infer_shapes(lifted: LiftedModule, sizes: Sequence[tuple[int, int]]) -> None:
    error: Exception | None = None
    for on_meta in (True, False):  # some operators have no meta implementation
        for size in sizes:
            if lifted.image_size is not None:
                lifted.image_size = size
            try:
                _infer_at(lifted, size, on_meta)
            except SIZE_ERRORS as fault:
                error = fault
                continue
            return
    raise LiftError(f"the lifted network runs at none of the sizes {list(sizes)}: {error}; give image_size=") from error


def _infer_at(lifted: LiftedModule, size: tuple[int, int], on_meta: bool) -> None:
    tubelets: list[Any] = [m.depth_kernel_size for m in lifted.modules() if getattr(m, "tubelets", False) is True]
    depth = prod([*lifted.plan.depth_pool, *tubelets])
    shape = (1, lifted.in_channels, depth, *size)
    weight = next(lifted.parameters())
    with torch.no_grad():
        out = run_on_meta(lifted, shape) if on_meta else lifted(weight.new_zeros(shape))
    maps = out if isinstance(out, list) else [out]
    if maps[0].ndim == 5:
        lifted.channels = tuple(m.shape[1] for m in maps)
        lifted.strides = tuple(
            (max(1, round(depth / m.shape[2])), round(size[0] / m.shape[3]), round(size[1] / m.shape[4])) for m in maps
        )
        return
    lifted.channels = (maps[0].shape[-1],)
    if maps[0].ndim == 2 or lifted.plan.slice_pool == "none":
        lifted.slice_pool = SlicePool(lifted.plan.slice_pool, maps[0].shape[-1]).to(weight)
