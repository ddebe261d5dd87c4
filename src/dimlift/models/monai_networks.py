"""Networks of MONAI by name, for weights of its model zoo and of its self-supervised Swin transformer."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from jaxtyping import Float
from monai.networks import nets
from torch import Tensor, nn

from dimlift.errors import ConfigError
from dimlift.models.pad_to_multiple import Grid, PadToMultiple

Options = Mapping[str, Any]

IGNORED_OPTIONS = ("_target_", "spatial_dims", "in_channels", "out_channels")
"""Entries of a bundle's `network_def` that follow from the task."""


class ReversedAxes(nn.Module):
    """Run a network that was trained on axes (x, y, z) on volumes with axes (z, y, x)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, volume: Float[Tensor, "batch channels depth height width"]
    ) -> Float[Tensor, "batch classes depth height width"]:
        """Return the logits in the axis order of the volume."""
        return self.network(volume.transpose(2, 4)).transpose(2, 4)


def _total_stride(options: Options) -> Grid:
    """Return the product of the strides along (x, y, z); each stride is one number or three."""
    steps = [(step,) * 3 if isinstance(step, int) else tuple(step) for step in options.get("strides", ())]
    return tuple(math.prod(step[axis] for step in steps) for axis in range(3))


SIZE_DIVISORS: dict[str, Callable[[Options], Grid]] = {
    "UNet": _total_stride,
    "AttentionUnet": _total_stride,
    "DynUNet": _total_stride,
    "BasicUNet": lambda _: (16, 16, 16),
    "SegResNet": lambda options: (2 ** (len(options.get("blocks_down", (1, 2, 2, 4))) - 1),) * 3,
    "SwinUNETR": lambda _: (32, 32, 32),
}
"""Supported classes, and the divisors of the input size along (x, y, z) for given options."""


def monai_network(name: str, in_channels: int, num_classes: int, options: Options) -> PadToMultiple:
    """Return a network (B, C, D, H, W) -> logits (B, num_classes, D, H, W) of any size, with random weights.

    The axis order inside is (x, y, z), as in MONAI.

    Args:
        name: a key of `SIZE_DIVISORS`.
        in_channels: channels of a volume.
        num_classes: channels of the logits.
        options: arguments of the class, as in the `network_def` of a bundle, without `IGNORED_OPTIONS`.

    Raises:
        ConfigError: if the class does not accept the options.
    """
    own = {key: value for key, value in options.items() if key not in IGNORED_OPTIONS}
    try:
        network = getattr(nets, name)(spatial_dims=3, in_channels=in_channels, out_channels=num_classes, **own)
        multiple = SIZE_DIVISORS[name](own)
    except (TypeError, ValueError, AssertionError, IndexError) as fault:
        raise ConfigError(
            f"MONAI's {name} cannot be built from arm.options={dict(options)}: {fault}; set the arguments of its "
            "class (`network_def` of the bundle the weights come from)"
        ) from fault
    return PadToMultiple(ReversedAxes(network), multiple[::-1])
