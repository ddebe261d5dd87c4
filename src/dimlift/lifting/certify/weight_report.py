"""Where each weight of a lifted network comes from."""

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from dimlift.backbones.load_report import Shape


@dataclass
class WeightsReport:
    """The keys of a lifted network, which are those of the 2D network, by the origin of their values.

    Attributes:
        inflated: keys that gained a depth axis: 2D shape and 3D shape.
        copied: keys with the 2D shape and the 2D values.
        resized: keys whose 2D shape changed (adapted channels, positions for another image size, patches of another
            size): old and new shape.
        new: keys the 2D network does not have, and their shapes.
    """

    inflated: dict[str, tuple[Shape, Shape]] = field(default_factory=dict)
    copied: list[str] = field(default_factory=list)
    resized: dict[str, tuple[Shape, Shape]] = field(default_factory=dict)
    new: dict[str, Shape] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON."""
        return {"inflated": self.inflated, "copied": self.copied, "resized": self.resized, "new": self.new}


def shapes_of(network: nn.Module) -> dict[str, Shape]:
    """Return the shape of every key of a network's state dict."""
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def compare_shapes(before: dict[str, Shape], after: dict[str, Shape]) -> WeightsReport:
    """Classify the keys of a lifted network.

    Args:
        before: shapes of the 2D network's keys.
        after: shapes of the lifted network's keys.
    """
    report = WeightsReport()
    for name, shape in after.items():
        if name not in before:
            report.new[name] = shape
        elif before[name] == shape:
            report.copied.append(name)
        elif len(shape) == len(before[name]) + 1 and before[name][2:] == shape[3:]:
            report.inflated[name] = (before[name], shape)
        else:
            report.resized[name] = (before[name], shape)
    return report
