"""A lifted network's weights as a 2D network's again."""

import torch
from torch import Tensor

from dimlift.errors import CannotLift
from dimlift.inflation.oriented import TURNED
from dimlift.lifting.layers.conv import TalkingConvolution
from dimlift.lifting.lifted_module import Lifted


def flatten(lifted: Lifted) -> dict[str, Tensor]:
    """The 2D state dict: what the lifted network does to a volume of one slice repeated, in two dimensions.

    Depth kernels are summed over depth and depth profiles multiplied in, exact to rounding. Adapted channels stay
    adapted. Normalisation that was moved into the first kernel is moved out again.

    Returns:
        Tensors under the 2D network's own names, copies.

    Raises:
        CannotLift: naming the layer, where no 2D kernel does the same.
    """
    for name, tensor in lifted.network.state_dict().items():
        if name.split(".")[-1] in ("depth_position", "depth_gate") and bool(tensor.any()):
            raise CannotLift(f"{name} is not zero, and a 2D network has no depth positions; set it to zero to drop it")
    return {name: tensor.detach().clone() for name, tensor in flat_weights(lifted).items()}


def flat_weights(lifted: Lifted) -> dict[str, Tensor]:
    """The same for a volume of one slice, live: a gradient on these tensors reaches the lifted network's own weights.

    Depth positions are left out, whatever they hold.

    Raises:
        CannotLift: naming the layer, where no 2D kernel does the same.
    """
    if lifted.plan.attention == "planecycle":
        raise CannotLift(
            "its blocks see planes other than the slice, which no 2D network does; use lifted.network's weights"
        )
    state = dict(lifted.network.state_dict(keep_vars=True))
    for name, module in lifted.network.named_modules():
        if isinstance(module, TalkingConvolution):
            _flatten_convolution(state, name, module)
    for name, std in lifted.folded_std.items():
        weight = state[f"{name}.weight"]
        state[f"{name}.weight"] = weight * std.to(weight)[:, None, None]
    return {name: tensor for name, tensor in state.items() if name not in lifted.weights_report.new}


def _flatten_convolution(state: dict[str, Tensor], name: str, conv: TalkingConvolution) -> None:
    weight = state[f"{name}.weight"]
    if conv.axes != ("depth",):
        raise CannotLift(
            f"{name} was inflated along {', '.join(conv.axes)}: its sum over depth is not the 2D kernel; "
            "lift with axes=('depth',) for a network that flattens"
        )
    if conv.inflation in TURNED:
        raise CannotLift(
            f"{name} was inflated as {conv.inflation}: its kernels do not lie in the slice, and their sum over depth "
            "is not the 2D kernel; lift with a depth profile for a network that flattens"
        )
    if weight.ndim == 5:
        weight = weight.sum(2)
    profile = state.pop(f"{name}.depth_profile", None)
    if profile is not None:
        total = profile.sum(1)
        if conv.kind.gain is None:
            weight = weight * total[:, None, None, None]
        elif not torch.allclose(total, torch.ones_like(total), atol=1e-6):
            raise CannotLift(
                f"{name} standardises its kernel, which undoes the {float(total.mean()):.3f} its depth profile "
                "now sums to; divide the profile by its sum, or keep the lifted weights"
            )
    state[f"{name}.weight"] = weight
