"""2D network whose first layer reads a window of slices; all other layers are unchanged.

- Zhang et al., TransSeg, 2022, https://proceedings.mlr.press/v193/zhang22a.html
"""

from pathlib import Path
from typing import Any

from dimlift.errors import PlanError
from dimlift.inflation.profiles import Profile
from dimlift.lifting.depth_plan import DepthPlan
from dimlift.lifting.lift import lift
from dimlift.lifting.lifted_module import LiftedModule


def tubelet_encoder(
    network: str | Path,
    window: int = 5,
    *,
    in_chans: int = 1,
    inflation: str | Profile = "centre",
    certify: bool = True,
    **options: Any,
) -> LiftedModule:
    """Return an encoder (B, C, window, H, W) -> maps (B, C_i, 1, H_i, W_i).

    Depth kernel and depth stride of the first layer are the window. The first layer may be any convolution. Its RGB
    kernel is summed for volumes of one channel; for several channels, three included, the sum is shared equally.

    Args:
        network: name of a 2D network.
        window: number of slices, odd.
        in_chans: channels of the volumes.
        inflation: how the 2D kernel is distributed over the window.
        certify: check on a small input that a repeated slice, and with centre inflation any window, has the outputs of
            the 2D network on the centre slice.
        options: further arguments of `lift`: pretrained, weights, image_size, out_indices, ...

    Raises:
        PlanError: if the window has no centre.
        LiftError: if the check fails.
    """
    if window < 1 or window % 2 == 0:
        raise PlanError(f"a window of {window} slices has no centre slice; use an odd number, such as {window | 1}")
    plan = DepthPlan(kernel=window, inflation=inflation, stride="first_conv")
    return lift(
        network, plan, in_chans=in_chans, average_input_channels=True, features_only=True, certify=certify, **options
    )
