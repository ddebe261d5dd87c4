"""One process of a run, told who it is by its environment: a whole run, or some steps of a small network."""

import json
import sys
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import nn

from dimlift.batch import VolumeBatch
from dimlift.config.sections import BudgetSection, TrainingSection
from dimlift.progress import Event
from dimlift.studies.load_config import parse
from dimlift.studies.run_config import TrainConfig
from dimlift.studies.train import train
from dimlift.training import fsdp
from dimlift.training.distributed import Team, team
from dimlift.training.fit import fit

BATCH = 4


class Frozen(nn.Module):
    """A batch norm that no longer learns its statistics, between convolutions; the first learns from half-time on."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.last = nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.Conv3d(4, 2, 1)
        self.blocks = nn.Sequential(nn.Conv3d(4, 4, 3, padding=1), nn.Sequential(nn.Tanh(), nn.Conv3d(4, 4, 1)))
        self.unused = nn.Conv3d(4, 2, 1)  # as a map that no decoder reads

    def loss(self, batch: VolumeBatch) -> torch.Tensor:
        self.norm.eval()
        seen = self.blocks(self.norm(self.first(batch.image)).relu())
        return nn.functional.cross_entropy(self.last(seen), batch.label)

    def parameter_groups(self, rate: float) -> list:
        return [{"params": list(self.parameters()), "lr": rate}]

    def set_progress(self, progress: float) -> None:
        self.first.requires_grad_(progress > 0.4)
        if progress == 0:
            print("\nholds", sum(getattr(p, "to_local", lambda p=p: p)().numel() for p in self.parameters()))


def batch_of(step: int, items: range) -> VolumeBatch:
    """Some items of the batch of a step."""
    images = [torch.randn(1, 6, 6, 6, generator=torch.Generator().manual_seed(BATCH * step + i)) for i in items]
    image = torch.stack(images)
    return VolumeBatch(image, (image[:, 0] > 0).long(), tuple(f"case_{i}" for i in items))


def steps(out: Path, together: Team, until: int, strategy: Literal["ddp", "fsdp"] = "ddp") -> None:
    """Train up to a step of six, as if stopped there; leaves losses and weights."""
    method = Frozen()
    training = TrainingSection(
        device="cpu", clip=0.1, ema=0.5, checkpoint_every=0.001, validate_every=0.5, strategy=strategy
    )

    def batch_at(step: int) -> VolumeBatch:
        if step == until:
            raise KeyboardInterrupt
        return batch_of(step, together.share_of(BATCH))

    def validate(method: nn.Module) -> dict[str, float]:
        """Processes that validate different cases must not wait for each other."""
        for step in range(100, 101 + together.rank):
            error = float(method.loss(batch_of(step, range(BATCH))).detach())
        return {"error": together.gather(error)[0][0]}

    budget = BudgetSection(steps=6)
    try:
        fitted = fit(
            method, batch_at, budget=budget, training=training, seed=0, checkpoints=out, together=together,
            validate=validate,
        )  # fmt: skip
    except KeyboardInterrupt:
        return
    if together.leads:
        (out / "losses.json").write_text(
            json.dumps([[point["loss"], point.get("error", 0)] for point in fitted.history])
        )
        save_file(
            {name: value.contiguous() for name, value in method.state_dict().items()}, out / "weights.safetensors"
        )


def heard(event: Event) -> None:
    print(event.stage)


if __name__ == "__main__":
    kind, *arguments = sys.argv[1:]
    if kind == "steps":
        fsdp.BLOCK = 50  # so that these blocks are gathered one by one
        folder, until, *strategies = arguments
        for strategy in strategies:
            steps(Path(folder) / strategy, team(), int(until), strategy)
    else:
        train(parse(json.loads(arguments[0]), TrainConfig), Path(arguments[1]), heard)
