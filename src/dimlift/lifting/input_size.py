"""Image sizes: what a network insists on, what it can be given, and what its maps come out as."""

import torch
from torch import nn

from dimlift.errors import CannotLift, PlanError
from dimlift.lifting.layers.slice_pooling import SliceHead
from dimlift.lifting.lifted_module import Lifted, on_meta

SIDES = (64, 96, 128, 224, 256, 384)
"""In-plane sizes tried where a network says nothing of its own."""

REFUSALS = (RuntimeError, AssertionError, ValueError, IndexError, TypeError)
"""How networks say that an image has the wrong size."""


def bound_size(network: nn.Module) -> tuple[int, int] | None:
    """The image size a network insists on; None if it takes others."""
    if getattr(network, "takes_any_size", False):
        return None
    for module in network.modules():
        size = getattr(module, "img_size", None)
        strict = getattr(module, "strict_img_size", False) and not getattr(module, "dynamic_img_pad", False)
        if strict and size is not None and hasattr(module, "patch_size"):
            return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        side = getattr(module, "image_size", None)  # torchvision's vision transformers
        if isinstance(side, int) and isinstance(getattr(module, "patch_size", None), int):
            return side, side
    return None


def resize(network: nn.Module, image_size: int | tuple[int, int]) -> None:
    """Fit a live network to another image size, by the means it has itself; position tables are interpolated.

    Raises:
        PlanError: if it is bound to its size and has no means.
    """
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    owners = [m for m in network.modules() if hasattr(m, "set_input_size") and hasattr(m, "patch_embed")]
    if owners:
        owners[0].set_input_size(img_size=size)  # type: ignore[operator]
    elif bound_size(network) not in (None, size):
        raise PlanError(f"this network is bound to {bound_size(network)} and cannot be resized; build it for {size}")


def sizes_to_try(network: nn.Module, trained_on: tuple[int, int] | None) -> list[tuple[int, int]]:
    """Image sizes a network may answer at: the one it says it is bound to, then small ones first.

    What says so may be an inner part, bound to the size of its own input (Visformer), so that others are tried as well.
    """
    said = [getattr(module, "img_size", None) for module in network.modules()]
    named = [(s, s) if isinstance(s, int) else tuple(s) for s in said if isinstance(s, int | tuple | list)]
    sizes = [bound_size(network), *((side, side) for side in SIDES), trained_on, *named]
    return list(dict.fromkeys(size for size in sizes if size is not None))


def describe_maps(lifted: Lifted, sizes: list[tuple[int, int]]) -> None:
    """Fill in channels and strides of the maps, or make the head of the logits, from a run on shapes alone.

    Raises:
        CannotLift: if the network answers at none of the sizes.
    """
    fault: Exception | None = None
    for hollow in (True, False):  # not every operator knows how to run on shapes
        for size in sizes:
            if lifted.image_size is not None:
                lifted.image_size = size
            try:
                _describe_maps(lifted, size, hollow)
            except REFUSALS as refused:
                fault = refused
                continue
            return
    raise CannotLift(f"the lifted network answers at none of the sizes {sizes}: {fault}; give image_size=") from fault


def _describe_maps(lifted: Lifted, size: tuple[int, int], hollow: bool) -> None:
    depth = 1
    for factor in lifted.plan.reduce:
        depth *= factor
    for module in lifted.modules():
        if getattr(module, "tubelets", False) is True:
            depth *= int(module.depth_size)  # type: ignore[arg-type]
    shape = (1, lifted.in_channels, depth, int(size[0]), int(size[1]))
    weight = next(lifted.parameters())
    with torch.no_grad():
        out = on_meta(lifted, shape) if hollow else lifted(torch.zeros(shape, dtype=weight.dtype, device=weight.device))
    maps = out if isinstance(out, list) else [out]
    if maps[0].ndim == 5:
        lifted.channels = tuple(m.shape[1] for m in maps)
        lifted.strides = tuple(
            (max(1, round(depth / m.shape[2])), round(size[0] / m.shape[3]), round(size[1] / m.shape[4])) for m in maps
        )
    else:
        lifted.channels = (maps[0].shape[-1],)
        if maps[0].ndim == 2 or lifted.plan.head == "none":
            lifted.head = SliceHead(lifted.plan.head, maps[0].shape[-1]).to(next(lifted.parameters()))
