"""One process of a distributed run: a whole run, or some steps of a small network."""

import json
import sys
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import nn

from dimlift.batch import VolumeBatch
from dimlift.config.sections import BudgetSection, TrainingSection
from dimlift.methods.method import Method
from dimlift.progress import Event
from dimlift.studies.load_config import parse
from dimlift.studies.run_config import TrainConfig
from dimlift.studies.train import train
from dimlift.training import fsdp
from dimlift.training.distributed import ProcessGroup, current_group
from dimlift.training.fit import fit

BATCH = 4


class Frozen(Method[VolumeBatch]):
    """Convolutions around a batch norm with frozen statistics; the first is unfrozen during training."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.last = nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.Conv3d(4, 2, 1)
        self.blocks = nn.Sequential(nn.Conv3d(4, 4, 3, padding=1), nn.Sequential(nn.Tanh(), nn.Conv3d(4, 4, 1)))
        self.unused = nn.Conv3d(4, 2, 1)  # like a map that no decoder reads

    def loss(self, batch: VolumeBatch) -> torch.Tensor:
        self.norm.eval()
        x = self.blocks(self.norm(self.first(batch.image)).relu())
        return nn.functional.cross_entropy(self.last(x), batch.label)

    def param_groups(self, lr: float) -> list:
        return [{"params": list(self.parameters()), "lr": lr}]

    def on_progress(self, progress: float) -> None:
        self.first.requires_grad_(progress > 0.4)
        if progress == 0:
            print("\nsize", sum(getattr(p, "to_local", lambda p=p: p)().numel() for p in self.parameters()))


def batch_of(step: int, items: range) -> VolumeBatch:
    """Return some items of the batch of a step."""
    images = [torch.randn(1, 6, 6, 6, generator=torch.Generator().manual_seed(BATCH * step + i)) for i in items]
    image = torch.stack(images)
    return VolumeBatch(image, (image[:, 0] > 0).long(), tuple(f"case_{i}" for i in items))


def steps(out: Path, group: ProcessGroup, until: int, strategy: Literal["ddp", "fsdp"] = "ddp") -> None:
    """Train six steps, interrupted at `until`; write losses and weights."""
    method = Frozen()
    training = TrainingSection(
        device="cpu", grad_clip_norm=0.1, ema_decay=0.5, checkpoint_every=0.001, val_interval=0.5, strategy=strategy
    )

    def batch_at(step: int) -> VolumeBatch:
        if step == until:
            raise KeyboardInterrupt
        return batch_of(step, group.local_range(BATCH))

    def validate(method: nn.Module) -> dict[str, float]:
        """Validate different numbers of cases per process, which must not wait for each other."""
        for step in range(100, 101 + group.rank):
            error = float(method.loss(batch_of(step, range(BATCH))).detach())
        return {"error": group.gather(error)[0][0]}

    budget = BudgetSection(steps=6)
    try:
        fitted = fit(
            method, batch_at, budget=budget, training=training, seed=0, checkpoints=out, group=group,
            validate=validate,
        )  # fmt: skip
    except KeyboardInterrupt:
        return
    if group.is_main:
        (out / "losses.json").write_text(
            json.dumps([[point["loss"], point.get("error", 0)] for point in fitted.history])
        )
        save_file(
            {name: value.contiguous() for name, value in method.state_dict().items()}, out / "weights.safetensors"
        )


def print_stage(event: Event) -> None:
    print(event.stage)


if __name__ == "__main__":
    kind, *arguments = sys.argv[1:]
    if kind == "steps":
        fsdp.MIN_BLOCK_SIZE = 50  # shards each of these small blocks on its own
        folder, until, *strategies = arguments
        for strategy in strategies:
            steps(Path(folder) / strategy, current_group(), int(until), strategy)
    else:
        train(parse(json.loads(arguments[0]), TrainConfig), Path(arguments[1]), print_stage)
