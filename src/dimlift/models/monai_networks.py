"""Networks of MONAI by name, for weights that were trained in them: its model zoo's, its self-supervised Swin's."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from jaxtyping import Float
from monai.networks import nets
from torch import Tensor, nn

from dimlift.errors import ConfigError
from dimlift.models.pad_to_multiple import AnySize, Grid

Options = Mapping[str, Any]

SET_HERE = ("_target_", "spatial_dims", "in_channels", "out_channels")
"""What a bundle's `network_def` says that the task says here."""


class AxesTurned(nn.Module):
    """A network that was taught on (x, y, z), asked about (z, y, x)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, volume: Float[Tensor, "batch channels depth height width"]
    ) -> Float[Tensor, "batch classes depth height width"]:
        """The network's answer, in the order of the volume."""
        return self.network(volume.transpose(2, 4)).transpose(2, 4)


def _by_strides(options: Options) -> Grid:
    """The product of the strides along (x, y, z), each a number or three."""
    steps = [(step,) * 3 if isinstance(step, int) else tuple(step) for step in options.get("strides", ())]
    return tuple(math.prod(step[axis] for step in steps) for axis in range(3))


DIVIDES: dict[str, Callable[[Options], Grid]] = {
    "UNet": _by_strides,
    "AttentionUnet": _by_strides,
    "DynUNet": _by_strides,
    "BasicUNet": lambda _: (16, 16, 16),
    "SegResNet": lambda options: (2 ** (len(options.get("blocks_down", (1, 2, 2, 4))) - 1),) * 3,
    "SwinUNETR": lambda _: (32, 32, 32),
}
"""The networks, and the voxels along (x, y, z) each divides a volume by under its options."""


def monai_network(name: str, in_channels: int, classes: int, options: Options) -> AnySize:
    """(B, C, D, H, W) -> (B, classes, D, H, W) of any size, with random weights; inside, axes are MONAI's (x, y, z).

    Args:
        name: one of `DIVIDES`.
        in_channels: channels of a volume.
        classes: channels of the answer.
        options: the class's own arguments, as in the `network_def` of a bundle; what is in `SET_HERE` is passed over.

    Raises:
        ConfigError: if the class does not take these options.
    """
    own = {key: value for key, value in options.items() if key not in SET_HERE}
    try:
        network = getattr(nets, name)(spatial_dims=3, in_channels=in_channels, out_channels=classes, **own)
        multiple = DIVIDES[name](own)
    except (TypeError, ValueError, AssertionError, IndexError) as fault:
        raise ConfigError(
            f"MONAI's {name} cannot be built from arm.options={dict(options)}: {fault}; give the arguments of its "
            "class (`network_def` of the bundle the weights come from)"
        ) from fault
    return AnySize(AxesTurned(network), multiple[::-1])
