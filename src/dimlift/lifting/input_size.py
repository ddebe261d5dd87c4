"""Image sizes: what a network is bound to, how it is resized, and which sizes to run it at."""

from typing import Any

from torch import nn

from dimlift.errors import PlanError

SIDES = (64, 96, 128, 224, 256, 384)
"""In-plane sizes to try for a network that states none."""

SIZE_ERRORS = (RuntimeError, AssertionError, ValueError, IndexError, TypeError)
"""What networks raise for an image of the wrong size."""


def fixed_image_size(network: nn.Module) -> tuple[int, int] | None:
    """Return the (height, width) a network is bound to; None if it takes other sizes."""
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


def set_image_size(network: nn.Module, image_size: int | tuple[int, int]) -> None:
    """Set the image size of a live network with its own method, which interpolates position tables.

    Sizes that patches do not fill are rounded up to whole patches.

    Raises:
        PlanError: if it is bound to another size and has no such method.
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    owners: list[Any] = [m for m in network.modules() if hasattr(m, "set_input_size") and hasattr(m, "patch_embed")]
    bound = fixed_image_size(network)
    if not owners and bound is None:
        return
    size = whole_patches(owners[0].patch_embed if owners else network, (height, width))
    if owners:
        owners[0].set_input_size(img_size=size)
    elif bound != size:
        raise PlanError(f"this network is bound to {bound} and cannot be resized; build it for {size}")


def whole_patches(network: nn.Module, size: tuple[int, int]) -> tuple[int, int]:
    """Return the smallest (height, width) of whole patches that holds an image."""
    stated = (getattr(module, "patch_size", None) for module in network.modules())
    patch: Any = next((patch for patch in stated if patch is not None), 1)
    high, wide = (patch, patch) if isinstance(patch, int) else patch
    return -(-size[0] // high) * high, -(-size[1] // wide) * wide


def candidate_sizes(network: nn.Module, trained_size: tuple[int, int] | None) -> list[tuple[int, int]]:
    """Return image sizes to run a network at: the one it is bound to, then small ones first.

    Several are tried, since the stated size may be that of an inner module, bound to the size of its own input
    (Visformer).
    """
    stated = [getattr(module, "img_size", None) for module in network.modules()]
    named = [(s, s) if isinstance(s, int) else tuple(s) for s in stated if isinstance(s, int | tuple | list)]
    sizes = [fixed_image_size(network), *((side, side) for side in SIDES), trained_size, *named]
    return list(dict.fromkeys(size for size in sizes if size is not None))
