"""PlaneCycle: blocks work in the planes of a volume in turn, with the weights they have (arXiv 2603.04165).

A block of a vision transformer sees the patches of one slice. Folded along height instead of depth, the same block
sees a plane of depth x width, and folded along width one of depth x height. Nothing is added.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dimlift.errors import CannotLift, PlanError, ShapeError
from dimlift.lifting.fold import Fold, current_fold, set_depth, set_grid
from dimlift.lifting.layers.class_patch import become
from dimlift.lifting.layers.depth_rope import rotary_embedding

AXES = ("depth", "height", "width")
CYCLE = (0, 1, 2, 0)
"""Axis that each block is folded along, over and over: planes HW, DW, DH, HW, as in the authors' code."""


ROTARY = ("rope", "position_embeddings")
"""What timm and transformers call the rotary positions they give a block."""


@dataclass(frozen=True)
class Turn:
    """How a block is turned.

    Attributes:
        axis: of (depth, height, width), the one it is folded along; 1 or 2.
        positions: what makes rotary positions for a plane of any size; None if the network has none, or none but those
            of a slice, of which the nearest are taken.
    """

    axis: int
    positions: Any

    def rotary(self, of_slice: Any, plane: "Plane") -> Any:
        """The rotary positions of a plane, for those of a slice, (h*w, ...) or several such tensors."""
        if isinstance(of_slice, tuple | list):
            return type(of_slice)(self.rotary(part, plane) for part in of_slice)
        if self.positions is not None:
            return self.positions.get_embed(shape=plane.sides).to(of_slice.dtype)
        return of_slice.index_select(-2, plane.patches_in_slice(of_slice.device))


class TurnedBlock(nn.Module):
    """Put before a block's own forward, which takes tokens (B*D, prefix + h*w, C) and hands out the same."""

    turn: Turn

    def forward(self, x: Float[Tensor, "n t c"], *inputs: Any, **options: Any) -> Float[Tensor, "n t c"]:
        """The block's answer in its own plane, folded along depth again.

        Raises:
            ShapeError: if its tokens are not those of the patch grid.
        """
        fold = current_fold()
        plane = Plane.of(x, fold, self.turn.axis)
        for name in ROTARY:
            if options.get(name) is not None:
                options[name] = self.turn.rotary(options[name], plane)
        set_depth(plane.folded)
        try:
            with MasksOfPlane(plane):
                out = super().forward(plane.turned(x), *inputs, **options)
        finally:
            set_depth(fold.depth)
        if not isinstance(out, Tensor):
            raise CannotLift(
                f"{type(self).__name__} hands out a {type(out).__name__} and not its tokens alone; "
                "use attention='joint'"
            )
        return plane.turned_back(out)


@dataclass(frozen=True)
class Plane:
    """Where the tokens of a volume go when a block is folded along height (1) or width (2)."""

    batch: int
    volume: tuple[int, int, int]
    axis: int
    prefix: int

    @classmethod
    def of(cls, x: Tensor, fold: Fold, axis: int) -> "Plane":
        """The plane for tokens as the network gives them.

        Raises:
            ShapeError: if they are not those of the patch grid.
        """
        height, width = fold.grid or (0, 0)
        shape = tuple(x.shape)
        if len(shape) != 3 or shape[0] != fold.batch * fold.depth or not 0 < height * width <= shape[1]:
            raise ShapeError(
                "attention='planecycle' needs the tokens of every slice on the patch grid, "
                f"({fold.batch * fold.depth}, {height} x {width} and prefix tokens, channels); a block got {shape}; "
                "use attention='joint'"
            )
        return cls(fold.batch, (fold.depth, height, width), axis, shape[1] - height * width)

    @property
    def folded(self) -> int:
        """Planes of one volume."""
        return self.volume[self.axis]

    @property
    def sides(self) -> tuple[int, int]:
        """Patches of a plane: (depth, width) or (depth, height)."""
        return self.volume[0], self.volume[3 - self.axis]

    def turned(self, x: Tensor) -> Tensor:
        """(B*D, prefix + h*w, C) to (B*planes, prefix + sides, C).

        Prefix tokens, of which a slice has a set and a plane needs one, are averaged along the way, or repeated.
        """
        slices = torch.unflatten(x, 0, (self.batch, -1))
        patches = torch.unflatten(slices[:, :, self.prefix :], 2, self.volume[1:])
        patches = patches.movedim(1 + self.axis, 1).flatten(2, 3)
        return torch.cat([_resampled(slices[:, :, : self.prefix], self.folded), patches], 2).flatten(0, 1)

    def turned_back(self, x: Tensor) -> Tensor:
        """The way back."""
        planes = torch.unflatten(x, 0, (self.batch, -1))
        patches = torch.unflatten(planes[:, :, self.prefix :], 2, self.sides)
        patches = patches.movedim(1, 1 + self.axis).flatten(2, 3)
        return torch.cat([_resampled(planes[:, :, : self.prefix], self.volume[0]), patches], 2).flatten(0, 1)

    def patches_in_slice(self, device: torch.device) -> Tensor:
        """For each patch of the plane, the patch of a slice that has its place there: depth counts as height."""
        height, width = self.volume[1:]
        first, second = (
            torch.div((2 * torch.arange(side, device=device) + 1) * span, 2 * side, rounding_mode="floor")
            for side, span in zip(self.sides, (height, width), strict=True)
        )
        return (first[:, None] * width + second).flatten()


class MasksOfPlane(TorchFunctionMode):
    """Active during one turned block: bias tables between the tokens of a slice become those of a plane."""

    def __init__(self, plane: Plane) -> None:
        super().__init__()
        self.plane = plane

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one call of torch; attention with the plane's mask."""
        kwargs = dict(kwargs or {})
        if func is F.scaled_dot_product_attention:
            mask = args[3] if len(args) > 3 else kwargs.get("attn_mask")
            if mask is not None:
                prefix = torch.arange(self.plane.prefix, device=mask.device)
                index = torch.cat([prefix, self.plane.prefix + self.plane.patches_in_slice(mask.device)])
                kwargs["attn_mask"] = mask.index_select(-2, index).index_select(-1, index)
                args = args[:3]
        return func(*args, **kwargs)


class SeePatches:
    """A forward hook on the convolution that cuts slices into patches: how many there are."""

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Float[Tensor, "n c h w"]) -> None:
        """Note height and width."""
        set_grid(output.shape[-2], output.shape[-1])


def _resampled(prefix: Float[Tensor, "b n g c"], count: int) -> Float[Tensor, "b count g c"]:
    if prefix.shape[1] == count or prefix.shape[2] == 0:
        return prefix if prefix.shape[1] == count else prefix.new_zeros(prefix.shape[0], count, 0, prefix.shape[3])
    pooled = F.adaptive_avg_pool1d(prefix.flatten(2).mT, count)
    return torch.unflatten(pooled.mT, 2, prefix.shape[2:])


def _positions_of_any_size(network: nn.Module) -> Any:
    """What makes a network's rotary positions, if it makes them for any grid; timm's may be bound to one."""
    made: Any = rotary_embedding(network)
    if made is None or not hasattr(made, "get_embed"):
        return None
    shapes = [tuple(made.get_embed(shape=(side, 7)).shape[:-1]) for side in (2, 3)]
    return made if shapes == [(14,), (21,)] else None


def column_of_blocks(network: nn.Module, attends: Callable[[nn.Module], bool]) -> list[str]:
    """Names of the blocks of a network that are all alike and work on one patch grid.

    Raises:
        PlanError: if there is no such column.
    """
    columns: dict[type[nn.Module], list[list[str]]] = {}
    for name, module in network.named_modules():
        if not isinstance(module, nn.ModuleList | nn.Sequential) or len(module) < 2:
            continue
        kinds = {type(block) for block in module}
        if len(kinds) == 1 and all(any(attends(m) for m in block.modules()) for block in module):
            names = [f"{name}.{key}".removeprefix(".") for key, _ in module.named_children()]
            columns.setdefault(kinds.pop(), []).append(names)
    alone = [found[0] for found in columns.values() if len(found) == 1]
    if not alone or len(alone) < len(columns):
        why = "has no such column" if not columns else f"has {sum(map(len, columns.values()))} of them, stage by stage"
        raise PlanError(
            "attention='planecycle' turns the blocks of one column on one patch grid, as in a plain vision "
            f"transformer; this network {why}; use attention='joint' or a window of slices"
        )
    return max(alone, key=len)


def turn_blocks(network: nn.Module, blocks: list[str], reader: nn.Module) -> dict[str, str]:
    """Turn the blocks, in place.

    Returns:
        For each block that is turned, in which plane it works.
    """
    reader.register_forward_hook(SeePatches())
    positions = _positions_of_any_size(network)
    turned = {}
    for index, name in enumerate(blocks):
        axis = CYCLE[index % len(CYCLE)]
        if axis:
            block = network.get_submodule(name)
            become(block, TurnedBlock)
            block.turn = Turn(axis, positions)  # type: ignore[assignment]
            turned[name] = f"block folded along {AXES[axis]}, over planes of depth x {AXES[3 - axis]}"
    return turned
