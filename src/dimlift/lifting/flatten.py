"""Convert the weights of a lifted network back to those of the 2D network."""

import torch
from torch import Tensor

from dimlift.errors import LiftError
from dimlift.inflation.profiles import ORIENTED
from dimlift.lifting.layers.conv import InflatedConv2d
from dimlift.lifting.lifted_module import LiftedModule

DEPTH_POSITIONS = ("depth_position", "depth_gate")


def flatten(lifted: LiftedModule) -> dict[str, Tensor]:
    """Return the 2D state dict with which the 2D network has the lifted network's output for a repeated slice.

    Kernels are summed over depth and multiplied by their depth profile, exact to rounding. A normalisation that was
    merged into the first kernel is removed again. Adapted input channels stay adapted.

    Returns:
        Copies of the tensors under the 2D network's keys.

    Raises:
        LiftError: if a layer has no 2D equivalent; the message names it.
    """
    for name, tensor in lifted.network.state_dict().items():
        if name.split(".")[-1] in DEPTH_POSITIONS and bool(tensor.any()):
            raise LiftError(f"{name} is not zero, and a 2D network has no depth positions; set it to zero to drop it")
    return {name: tensor.detach().clone() for name, tensor in differentiable_flatten(lifted).items()}


def differentiable_flatten(lifted: LiftedModule) -> dict[str, Tensor]:
    """Return the tensors of `flatten` with gradients to the lifted network's weights.

    Depth positions are dropped, also where they are not zero.

    Raises:
        LiftError: if a layer has no 2D equivalent; the message names it.
    """
    if lifted.plan.attention == "planecycle":
        raise LiftError(
            "attention='planecycle' attends within planes other than the slice, which no 2D network does; "
            "use the weights of lifted.network"
        )
    state = dict(lifted.network.state_dict(keep_vars=True))
    for name, module in lifted.network.named_modules():
        if isinstance(module, InflatedConv2d):
            _flatten_conv(state, name, module)
    for name, std in lifted.folded_std.items():
        weight = state[f"{name}.weight"]
        state[f"{name}.weight"] = weight * std.to(weight)[:, None, None]
    return {name: tensor for name, tensor in state.items() if name not in lifted.weights_report.new}


def _flatten_conv(state: dict[str, Tensor], name: str, conv: InflatedConv2d) -> None:
    weight = state[f"{name}.weight"]
    if conv.axes != ("depth",):
        raise LiftError(
            f"{name} was inflated along {', '.join(conv.axes)}: its sum over depth is not the 2D kernel; "
            "lift with axes=('depth',) to flatten later"
        )
    if conv.inflation in ORIENTED:
        raise LiftError(
            f"{name} was inflated as {conv.inflation}: its kernels are oriented out of the slice, and their sum over "
            "depth is not the 2D kernel; lift with a depth profile to flatten later"
        )
    if weight.ndim == 5:
        weight = weight.sum(2)
    profile = state.pop(f"{name}.depth_profile", None)
    if profile is not None:
        total = profile.sum(1)
        if conv.conv_type.gain is None:
            weight = weight * total[:, None, None, None]
        elif not torch.allclose(total, torch.ones_like(total), atol=1e-6):
            raise LiftError(
                f"{name} standardises its kernel, which removes the factor {float(total.mean()):.3f} its depth profile "
                "sums to; divide the profile by its sum, or keep the lifted weights"
            )
    state[f"{name}.weight"] = weight
