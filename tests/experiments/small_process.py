"""One process of a run, told who it is by its environment: a whole run, or some steps of a small network."""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from dimlift.batches import VolumeBatch
from dimlift.experiments.config import TrainConfig
from dimlift.experiments.config_file import parse
from dimlift.experiments.loop import fit
from dimlift.experiments.progress import Event
from dimlift.experiments.sections import BudgetSection, TrainingSection
from dimlift.experiments.team import Team, team
from dimlift.experiments.train import train

BATCH = 4


class Frozen(nn.Module):
    """A batch norm that no longer learns its statistics, between two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.last = nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.Conv3d(4, 2, 1)
        self.unused = nn.Conv3d(4, 2, 1)  # as a map that no decoder reads

    def loss(self, batch: VolumeBatch) -> torch.Tensor:
        self.norm.eval()
        return nn.functional.cross_entropy(self.last(self.norm(self.first(batch.image)).relu()), batch.label)

    def parameter_groups(self, rate: float) -> list:
        return [{"params": list(self.parameters()), "lr": rate}]

    def set_progress(self, progress: float) -> None:
        pass


def batch_of(step: int, items: range) -> VolumeBatch:
    """Some items of the batch of a step."""
    images = [torch.randn(1, 6, 6, 6, generator=torch.Generator().manual_seed(BATCH * step + i)) for i in items]
    image = torch.stack(images)
    return VolumeBatch(image, (image[:, 0] > 0).long(), tuple(f"case_{i}" for i in items))


def steps(out: Path, together: Team, until: int) -> None:
    """Train up to a step of six, as if stopped there; leaves losses and weights."""
    method = Frozen()
    training = TrainingSection(device="cpu", clip=0.1, checkpoint_every=0.001)

    def batch_at(step: int) -> VolumeBatch:
        if step == until:
            raise KeyboardInterrupt
        return batch_of(step, together.share_of(BATCH))

    budget = BudgetSection(steps=6)
    try:
        fitted = fit(method, batch_at, budget=budget, training=training, seed=0, checkpoints=out, together=together)
    except KeyboardInterrupt:
        return
    if together.leads:
        (out / "losses.json").write_text(json.dumps([point["loss"] for point in fitted.history]))
        save_file(method.state_dict(), out / "weights.safetensors")


def heard(event: Event) -> None:
    print(event.stage)


if __name__ == "__main__":
    kind, *arguments = sys.argv[1:]
    if kind == "steps":
        steps(Path(arguments[0]), team(), int(arguments[1]))
    else:
        train(parse(json.loads(arguments[0]), TrainConfig), Path(arguments[1]), heard)
