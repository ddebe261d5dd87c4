"""A 2D network whose first layer takes a window of slices at once; everything behind it stays as it is.

- Zhang et al., TransSeg, 2022, https://proceedings.mlr.press/v193/zhang22a.html
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from dimlift.errors import PlanError
from dimlift.lifting.depth_plan import DepthPlan
from dimlift.lifting.lift import lift
from dimlift.lifting.lifted_module import Lifted


def tubelet_encoder(
    network: str | Path,
    window: int = 5,
    *,
    in_channels: int = 1,
    profile: str | Callable[[int], Tensor] = "centre",
    certify: bool = True,
    **options: Any,
) -> Lifted:
    """(B, C, window, H, W) -> maps (B, C_i, 1, H_i, W_i): kernel and stride of the first layer are the window.

    Any first convolution will do, also one that does not patchify. The colours of its kernel are summed for grey
    volumes, and summed and shared equally for volumes of several channels, three included.

    Args:
        network: name of a 2D network.
        window: slices, an odd number.
        in_channels: channels of the volumes.
        profile: how the 2D kernel is shared out over the window.
        certify: try on a small input that a repeated slice, and with the centre profile any window, answers as the
            2D network does on the slice in the middle.
        options: what `lift` takes: pretrained, weights, image_size, out_indices, ...

    Raises:
        PlanError: if the window has no centre.
        CannotLift: if the window answers otherwise than promised.
    """
    if window < 1 or window % 2 == 0:
        raise PlanError(f"a window of {window} slices has no centre slice; use an odd number, such as {window | 1}")
    plan = DepthPlan(kernel=window, profile=profile, stride="stem")
    return lift(network, plan, in_channels=in_channels, colours=False, features_only=True, certify=certify, **options)
