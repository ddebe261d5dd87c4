"""PlaneCycle: pretrained blocks attend within different planes of a volume in turn (arXiv 2603.04165).

A block of a vision transformer attends within the patches of a slice. Folded along height instead of depth, the same
block attends within a plane of depth x width; folded along width, within one of depth x height. No parameter is added.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.class_patch import patch_class
from dimlift.errors import LiftError, PlanError, ShapeError
from dimlift.lifting.fold import Fold, current_fold, set_depth, set_patch_grid
from dimlift.lifting.layers.call_interceptor import CallInterceptor, TorchFunction, attention_arguments
from dimlift.lifting.layers.depth_rope import find_rotary_embedding

AXES = ("depth", "height", "width")
CYCLE = (0, 1, 2, 0)
"""Axis that successive blocks are folded along, repeated: planes HW, DW, DH, HW, as in the authors' code."""

ROTARY_ARGUMENTS = ("rope", "position_embeddings")
"""Names under which timm and transformers pass rotary positions to a block."""


@dataclass(frozen=True)
class PlaneFold:
    """How a block is folded.

    Attributes:
        axis: index in (depth, height, width) of the axis it is folded along; 1 or 2.
        rope: module that computes rotary positions for a plane of any size; None if the network has none, or only
            those of a slice, which are then resampled by nearest neighbour.
    """

    axis: int
    rope: Any

    def rotary_positions(self, of_slice: Any, plane: "Plane") -> Any:
        """Return the rotary positions of a plane, given those of a slice, (h*w, ...) or several such tensors."""
        if isinstance(of_slice, tuple | list):
            return type(of_slice)(self.rotary_positions(part, plane) for part in of_slice)
        if self.rope is not None:
            return self.rope.get_embed(shape=plane.sides).to(of_slice.dtype)
        return of_slice.index_select(-2, plane.nearest_patches(of_slice.device))


class PlaneFoldedBlock(nn.Module):
    """Mixin for a block that maps tokens (B*D, prefix + h*w, C) to the same shape.

    Attributes:
        plane_fold: how it is folded.
    """

    plane_fold: PlaneFold

    def forward(self, x: Float[Tensor, "n t c"], *inputs: Any, **options: Any) -> Float[Tensor, "n t c"]:
        """Return the block's output in its own plane, folded along depth again.

        Raises:
            ShapeError: if its tokens are not those of the patch grid.
            LiftError: if the block returns more than its tokens.
        """
        fold = current_fold()
        plane = Plane.of(x, fold, self.plane_fold.axis)
        for name in ROTARY_ARGUMENTS:
            if options.get(name) is not None:
                options[name] = self.plane_fold.rotary_positions(options[name], plane)
        set_depth(plane.count)
        try:
            with CallInterceptor(PlaneMask(plane)):
                out = super().forward(plane.fold(x), *inputs, **options)
        finally:
            set_depth(fold.depth)
        if not isinstance(out, Tensor):
            raise LiftError(
                f"{type(self).__name__} returns a {type(out).__name__} instead of a tensor of tokens; "
                "use attention='volume'"
            )
        return plane.unfold(out)


@dataclass(frozen=True)
class Plane:
    """Rearrangement of the tokens of volumes for a block that is folded along height (1) or width (2).

    Attributes:
        batch: number of volumes.
        grid: patches along (depth, height, width).
        axis: index of the axis the block is folded along.
        num_prefix: number of class and register tokens of a slice.
    """

    batch: int
    grid: tuple[int, int, int]
    axis: int
    num_prefix: int

    @classmethod
    def of(cls, x: Tensor, fold: Fold, axis: int) -> "Plane":
        """Return the rearrangement for the tokens of the network.

        Raises:
            ShapeError: if they are not those of the patch grid.
        """
        height, width = fold.grid or (0, 0)
        shape = tuple(x.shape)
        if len(shape) != 3 or shape[0] != fold.batch * fold.depth or not 0 < height * width <= shape[1]:
            raise ShapeError(
                "attention='planecycle' needs the tokens of every slice on the patch grid, "
                f"({fold.batch * fold.depth}, {height} x {width} and prefix tokens, channels); a block got {shape}; "
                "use attention='volume'"
            )
        return cls(fold.batch, (fold.depth, height, width), axis, shape[1] - height * width)

    @property
    def count(self) -> int:
        """Planes of one volume."""
        return self.grid[self.axis]

    @property
    def sides(self) -> tuple[int, int]:
        """Patches of a plane: (depth, width) or (depth, height)."""
        return self.grid[0], self.grid[3 - self.axis]

    def fold(self, x: Tensor) -> Tensor:
        """Rearrange (B*D, prefix + h*w, C) to (B*planes, prefix + patches of a plane, C).

        Prefix tokens, of which there is a set for each slice, are averaged or repeated to a set for each plane.
        """
        slices = torch.unflatten(x, 0, (self.batch, -1))
        patches = torch.unflatten(slices[:, :, self.num_prefix :], 2, self.grid[1:])
        patches = patches.movedim(1 + self.axis, 1).flatten(2, 3)
        return torch.cat([_resize_prefix(slices[:, :, : self.num_prefix], self.count), patches], 2).flatten(0, 1)

    def unfold(self, x: Tensor) -> Tensor:
        """Rearrange (B*planes, prefix + patches of a plane, C) to (B*D, prefix + h*w, C)."""
        planes = torch.unflatten(x, 0, (self.batch, -1))
        patches = torch.unflatten(planes[:, :, self.num_prefix :], 2, self.sides)
        patches = patches.movedim(1, 1 + self.axis).flatten(2, 3)
        return torch.cat([_resize_prefix(planes[:, :, : self.num_prefix], self.grid[0]), patches], 2).flatten(0, 1)

    def nearest_patches(self, device: torch.device) -> Tensor:
        """Return, for each patch of the plane, the index of the slice's patch at its position; depth maps to height."""
        height, width = self.grid[1:]
        first, second = (
            torch.div((2 * torch.arange(side, device=device) + 1) * span, 2 * side, rounding_mode="floor")
            for side, span in zip(self.sides, (height, width), strict=True)
        )
        return (first[:, None] * width + second).flatten()


class PlaneMask:
    """Call handler for one forward of one block: bias tables between a slice's tokens become those of a plane."""

    functions = (F.scaled_dot_product_attention,)

    def __init__(self, plane: Plane) -> None:
        self.plane = plane

    def __call__(self, function: TorchFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Attend with the plane's mask."""
        arguments = attention_arguments(args, kwargs)
        mask = arguments.get("attn_mask")
        if mask is not None:
            prefix = torch.arange(self.plane.num_prefix, device=mask.device)
            index = torch.cat([prefix, self.plane.num_prefix + self.plane.nearest_patches(mask.device)])
            arguments["attn_mask"] = mask.index_select(-2, index).index_select(-1, index)
        return function(**arguments)


class RecordPatchGrid:
    """Forward hook of the patch embedding: records the height and width of the patch grid in the current fold."""

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Float[Tensor, "n c h w"]) -> None:
        """Record height and width."""
        set_patch_grid(output.shape[-2], output.shape[-1])


def _resize_prefix(prefix: Float[Tensor, "b n g c"], count: int) -> Float[Tensor, "b count g c"]:
    if prefix.shape[1] == count or prefix.shape[2] == 0:
        return prefix if prefix.shape[1] == count else prefix.new_zeros(prefix.shape[0], count, 0, prefix.shape[3])
    pooled = F.adaptive_avg_pool1d(prefix.flatten(2).mT, count)
    return torch.unflatten(pooled.mT, 2, prefix.shape[2:])


def _rope_of_any_size(network: nn.Module) -> Any:
    """Return the module that computes rotary positions, if it does so for any grid; timm's may be bound to one."""
    rope: Any = find_rotary_embedding(network)
    if rope is None or not hasattr(rope, "get_embed"):
        return None
    shapes = [tuple(rope.get_embed(shape=(side, 7)).shape[:-1]) for side in (2, 3)]
    return rope if shapes == [(14,), (21,)] else None


def block_stack(network: nn.Module, attends: Callable[[nn.Module], bool]) -> list[str]:
    """Return the names of a network's blocks, which must be of one class and share one patch grid.

    Args:
        network: the 2D network.
        attends: whether a module is an attention layer.

    Raises:
        PlanError: if the network has no such stack of blocks, or several.
    """
    stacks: dict[type[nn.Module], list[list[str]]] = {}
    for name, module in network.named_modules():
        if not isinstance(module, nn.ModuleList | nn.Sequential) or len(module) < 2:
            continue
        classes = {type(block) for block in module}
        if len(classes) == 1 and all(any(attends(m) for m in block.modules()) for block in module):
            names = [f"{name}.{key}".removeprefix(".") for key, _ in module.named_children()]
            stacks.setdefault(classes.pop(), []).append(names)
    single = [found[0] for found in stacks.values() if len(found) == 1]
    if not single or len(single) < len(stacks):
        why = "has no such stack" if not stacks else f"has {sum(map(len, stacks.values()))} of them, stage by stage"
        raise PlanError(
            "attention='planecycle' folds the blocks of one stack on one patch grid, as in a plain vision "
            f"transformer; this network {why}; use attention='volume' or a window of slices"
        )
    return max(single, key=len)


def fold_blocks(network: nn.Module, blocks: list[str], patch_embedding: nn.Module) -> dict[str, str]:
    """Fold blocks along the axes of `CYCLE`, in place.

    Args:
        network: the 2D network.
        blocks: their names, in order.
        patch_embedding: the convolution whose output is the patch grid.

    Returns:
        For each block that is not folded along depth, a description of its plane.
    """
    patch_embedding.register_forward_hook(RecordPatchGrid())
    rope = _rope_of_any_size(network)
    folded = {}
    for index, name in enumerate(blocks):
        axis = CYCLE[index % len(CYCLE)]
        if axis:
            block = network.get_submodule(name)
            patch_class(block, PlaneFoldedBlock)
            block.plane_fold = PlaneFold(axis, rope)  # type: ignore[assignment]
            folded[name] = f"block folded along {AXES[axis]}, over planes of depth x {AXES[3 - axis]}"
    return folded
