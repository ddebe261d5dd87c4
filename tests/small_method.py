"""A small method with dropout, batch norm and two parameter groups."""

import torch
from torch import nn

from dimlift.batch import VolumeBatch
from dimlift.methods.method import Method


class SmallMethod(Method[VolumeBatch]):
    """Two convolutions with batch norm and dropout between them."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first = nn.Conv3d(1, 4, 3, padding=1)
            self.norm = nn.BatchNorm3d(4)
            self.last = nn.Conv3d(4, 2, 1)
        self.progress: list[float] = []

    def forward(self, image, features=None):
        return self.last(nn.functional.dropout(self.norm(self.first(image)).relu(), 0.3, self.training))

    def loss(self, batch):
        return nn.functional.cross_entropy(self(batch.image), batch.label)

    def param_groups(self, lr):
        first = {"params": [*self.first.parameters(), *self.norm.parameters()], "lr": lr * 0.5, "name": "encoder"}
        return [first, {"params": list(self.last.parameters()), "lr": lr, "name": "head"}]

    def on_progress(self, progress):
        self.progress.append(progress)


def batch_at(step: int) -> VolumeBatch:
    """Return the batch of a step, a function of the step alone; bright voxels are class 1."""
    image = torch.randn(2, 1, 6, 6, 6, generator=torch.Generator().manual_seed(step))
    return VolumeBatch(image, (image[:, 0] > 0).long(), (f"case_{step}", "other"))
