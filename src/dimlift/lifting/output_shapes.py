"""Shapes of a lifted network's outputs and the extent of its attention, from a run on the meta device."""

from collections.abc import Mapping, Sequence
from math import ceil, log2, prod
from typing import Any

import torch
from torch import Tensor

from dimlift.errors import LiftError, PlanError
from dimlift.lifting.certify.attention_coverage import attention_hint, record_attention
from dimlift.lifting.certify.certificate import some_names
from dimlift.lifting.input_size import SIZE_ERRORS
from dimlift.lifting.layers.slice_pooling import SlicePool
from dimlift.lifting.lifted_module import LiftedModule, exact
from dimlift.lifting.meta_device import run_on_meta
from dimlift.lifting.slice_padding import first_conv
from dimlift.lifting.stages import stages_of

Pair = tuple[int, int]
"""(height, width)"""

GROWTH = 64
"""Least number of pixels by which images grow to measure strides, which divide it times the size of a patch."""

MAX_STRIDES = 8
"""Strides along depth, one after the other, up to which the total stride is searched."""


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
        _infer_strided(lifted, sizes)
        return
    if attention == "planecycle":
        try:
            _infer_strided(lifted, sizes)
        except LiftError as fault:
            raise PlanError(
                "attention='planecycle' needs blocks that keep the tokens of a slice on its patch grid, which those of "
                f"this network do not ({fault}); use attention='volume' or a window of slices"
            ) from fault
        return
    with record_attention(lifted.network) as coverage:
        _infer_strided(lifted, sizes)
    lifted.attention_within_slices = tuple(coverage.skipped)
    if not coverage.spanned:
        raise PlanError(
            f"attention={attention!r}, but no attention of this network calls scaled_dot_product_attention on the "
            f"tokens of a slice ({some_names(coverage.skipped) or 'none is called'}); use attention='per_slice'"
            f"{attention_hint(lifted.network, lifted.attention_within_slices)}"
        )


def _infer_strided(lifted: LiftedModule, sizes: Sequence[tuple[int, int]]) -> None:
    try:
        _infer_shapes(lifted, sizes)
    except LiftError as fault:
        if not lifted.plan.strides_depth:
            raise
        raise PlanError(
            f"depth_stride={lifted.plan.depth_stride}: the branches of a block of this network end at different "
            f"depths, or one reduces its slices by a function that is no layer ({fault}); name all strided layers of "
            "the block, or use depth_pool"
        ) from fault


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
    depth, maps = _run_at_whole_depth(lifted, depth, size, on_meta)
    weight = next(lifted.parameters())
    if maps[0].ndim == 5:
        lifted.channels = tuple(m.shape[1] for m in maps)
        in_plane = _in_plane_strides(lifted, depth, size, [(m.shape[3], m.shape[4]) for m in maps])
        lifted.strides = tuple((exact(depth / m.shape[2]), *step) for m, step in zip(maps, in_plane, strict=True))
        lifted.starts = tuple(
            (0, *_first_cells(size, (m.shape[3], m.shape[4]), step)) for m, step in zip(maps, in_plane, strict=True)
        )
        return
    lifted.channels = (maps[0].shape[-1],)
    if maps[0].ndim == 2 or lifted.plan.slice_pool == "none":
        lifted.slice_pool = SlicePool(lifted.plan.slice_pool, maps[0].shape[-1]).to(weight)


def _run_at_whole_depth(lifted: LiftedModule, depth: int, size: Pair, on_meta: bool) -> tuple[int, list[Tensor]]:
    """Run at a depth that the strides along depth divide, and return it with the maps.

    The total stride of a network is known from its outputs only: which layers follow one another and which are
    branches is not. A depth fits once a multiple of it has the same strides.

    Raises:
        LiftError: if there is no such depth.
    """
    given = lifted.plan.depth_stride
    steps = prod(set(given.values() if isinstance(given, Mapping) else given))
    maps = _run(lifted, depth, size, on_meta)
    if steps == 1 or maps[0].ndim != 5:
        return depth, maps
    for _ in range(MAX_STRIDES):
        deeper = _run(lifted, depth * steps, size, on_meta)
        if all(new.shape[2] == steps * old.shape[2] for new, old in zip(deeper, maps, strict=True)):
            return depth, maps
        depth, maps = depth * steps, deeper
    raise LiftError("the depth of its maps does not grow with that of the volume")


def _run(lifted: LiftedModule, depth: int, size: Pair, on_meta: bool) -> list[Tensor]:
    shape = (1, lifted.in_channels, depth, *size)
    with torch.no_grad():
        out = run_on_meta(lifted, shape) if on_meta else lifted(next(lifted.parameters()).new_zeros(shape))
    return out if isinstance(out, list) else [out]


def _in_plane_strides(lifted: LiftedModule, depth: int, size: Pair, grids: Sequence[Pair]) -> list[tuple[float, float]]:
    """Return the (height, width) stride of each map: the pixels by which the image grows for one more cell.

    A network bound to one size cannot grow. There it is the stride the network states, if its grid fits that.
    """
    more = tuple(multiple * 2 ** ceil(max(0.0, log2(GROWTH / multiple))) for multiple in lifted.padding.multiple)
    if lifted.image_size is None:
        try:
            larger = _run(lifted, depth, (size[0] + more[0], size[1] + more[1]), on_meta=True)
        except (*SIZE_ERRORS, NotImplementedError):
            larger = []
        grown = [(m.shape[3], m.shape[4]) for m in larger]
        if grown and all(new[axis] > old[axis] for new, old in zip(grown, grids, strict=True) for axis in (0, 1)):
            return [
                (exact(more[0] / (new[0] - old[0])), exact(more[1] / (new[1] - old[1])))
                for new, old in zip(grown, grids, strict=True)
            ]
    stem = first_conv(lifted.network)
    steps = (1, 1) if stem is None else (stem.stride[0], stem.stride[1])
    stages = stages_of(lifted.network)
    stated = [stage.stride for stage in stages] if len(stages) == len(grids) else [0.0] * len(grids)
    return [
        (_stride(size[0], grid[0], steps[0], known), _stride(size[1], grid[1], steps[1], known))
        for grid, known in zip(grids, stated, strict=True)
    ]


def _stride(side: int, cells: int, step: int, stated: float) -> float:
    """Return the stride of a grid whose last cell may extend beyond the image.

    Args:
        side: pixels of the image.
        cells: of the grid.
        step: stride of the first convolution.
        stated: stride that the network states; it may be wrong.
    """
    fitting = [stride for stride in range(step, side + 1, step) if -(-side // stride) == cells]
    if stated in fitting or not fitting:
        return exact(stated if stated in fitting else side / cells)
    return max(fitting, key=lambda stride: stride & -stride)


def _first_cells(size: Pair, grid: Pair, strides: tuple[float, float]) -> tuple[float, float]:
    """Return the pixel at which the first cell starts: convolutions without padding leave a border on either side."""
    first, second = (
        exact(max(0.0, (side - cells * stride) / 2)) for side, cells, stride in zip(size, grid, strides, strict=True)
    )
    return first, second
