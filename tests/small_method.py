"""A method small enough to watch: one that draws random numbers, keeps statistics and has two groups."""

import torch
from torch import nn

from dimlift.batch import VolumeBatch


class SmallMethod(nn.Module):
    """Two convolutions with batch norm and dropout between them."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first = nn.Conv3d(1, 4, 3, padding=1)
            self.norm = nn.BatchNorm3d(4)
            self.last = nn.Conv3d(4, 2, 1)
        self.heard: list[float] = []

    def forward(self, image, features=None):
        return self.last(nn.functional.dropout(self.norm(self.first(image)).relu(), 0.3, self.training))

    def loss(self, batch):
        return nn.functional.cross_entropy(self(batch.image), batch.label)

    def parameter_groups(self, rate):
        first = {"params": [*self.first.parameters(), *self.norm.parameters()], "lr": rate * 0.5, "name": "encoder"}
        return [first, {"params": list(self.last.parameters()), "lr": rate, "name": "head"}]

    def set_progress(self, progress):
        self.heard.append(progress)


def batch_at(step: int) -> VolumeBatch:
    """A function of the step alone: bright voxels are class 1."""
    image = torch.randn(2, 1, 6, 6, 6, generator=torch.Generator().manual_seed(step))
    return VolumeBatch(image, (image[:, 0] > 0).long(), (f"case_{step}", "other"))
