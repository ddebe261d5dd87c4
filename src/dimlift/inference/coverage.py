"""How much of a case was predicted, and by how many windows."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass


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

    @classmethod
    def of_members(cls, members: "Sequence[Coverage]") -> "Coverage":
        """Return the windows of all runs together, and the counts of the run with the smallest share."""
        least = min(members, key=lambda each: each.share)
        return cls(sum(each.windows for each in members), least.predicted, least.total)

    def to_json(self) -> dict[str, float]:
        """Return the counters and the share."""
        return {**asdict(self), "share": self.share}
