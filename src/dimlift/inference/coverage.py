"""How much of a case was predicted, and by how many windows."""

from dataclasses import dataclass


@dataclass
class Coverage:
    """Counters that prediction fills.

    Attributes:
        windows: windows, tiles or whole cases passed to the network.
        predicted: voxels or points that at least one of them predicted.
        total: voxels or points at the input of the network.
    """

    windows: int = 0
    predicted: int = 0
    total: int = 0

    @property
    def share(self) -> float:
        """Share of the voxels or points that were predicted."""
        return self.predicted / self.total if self.total else 0.0
