"""One step of the optimiser, and what can go wrong in it: a number that is not finite, memory that runs out."""

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from dimlift.batch import Batch
from dimlift.config.sections import TrainingSection
from dimlift.errors import RunError
from dimlift.records.atomic_write import written_whole
from dimlift.records.record import write_json
from dimlift.training.distributed import Team
from dimlift.training.fabric import arithmetic
from dimlift.training.fsdp import whole

PATCH_MULTIPLE = 8
_ALLOCATOR = re.compile(r"can't allocate memory|not enough memory|out of memory|bad_alloc", re.IGNORECASE)


def take_step(
    fabric: Any,
    module: Any,
    stepper: Any,
    batch: Batch,
    training: TrainingSection,
    step: int,
    saved_in: Path | None = None,
    together: Team = Team(),  # noqa: B008 - it never changes
) -> float:
    """One optimiser step; gives the loss back, of the whole batch if several processes share it.

    Args:
        fabric, module, stepper: lightning's Fabric, and what its `setup` gave for method and optimiser.
        saved_in: folder for the batch that makes loss or gradient infinite or NaN.

    Raises:
        RunError: at a loss or gradient that is not finite, before any weight is touched; and when memory runs out.
    """
    try:
        stepper.zero_grad(set_to_none=True)
        with arithmetic(training, fabric.device):
            loss: Tensor = module.loss(batch)
        losses = together.asked(float(loss.detach()))  # processes wait for each other once a step, for the gradient
        fabric.backward(loss)
        values = [found for (found,) in losses()]
        value = sum(values) / len(values)
        if not math.isfinite(value):
            if math.isfinite(values[together.rank]):
                bad = [rank for rank, found in enumerate(values) if not math.isfinite(found)]
                raise RunError(f"the loss of step {step} is {value} in process {bad}, which names the cases")
            raise _not_finite(f"the loss of step {step} is {value}", batch, step, saved_in)
        norm = fabric.clip_gradients(module, stepper, max_norm=training.clip or math.inf, error_if_nonfinite=False)
        if norm is not None and not math.isfinite(size := float(whole(norm))):
            raise _not_finite(f"the gradient of step {step} is {size}", batch, step, saved_in)
        stepper.step()
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as fault:
        if "does not have a deterministic implementation" in str(fault):
            named = str(fault).split(" does not have")[0]
            raise RunError(
                f"{named} has no deterministic kernel on this device; train without --deterministic "
                "(training.deterministic=false), or with training.device=cpu"
            ) from fault
        if not ran_out_of_memory(fault):
            raise
        raise RunError(_memory_advice(batch.image.shape)) from fault
    return value


def ran_out_of_memory(fault: BaseException) -> bool:
    """Whether a fault is of memory; the allocator of the CPU raises a plain RuntimeError."""
    if isinstance(fault, torch.OutOfMemoryError | MemoryError):
        return True
    return type(fault) is RuntimeError and _ALLOCATOR.search(str(fault)) is not None


def smaller_patch(size: Sequence[int]) -> list[int]:
    """The patch to try next: its longest axis halved, in multiples of 8 voxels."""
    found = list(size)
    longest = found.index(max(found))
    found[longest] = max(1, found[longest] // 2 // PATCH_MULTIPLE) * PATCH_MULTIPLE
    return found


def _memory_advice(shape: Sequence[int]) -> str:
    if len(shape) == 3:  # clouds of points
        return (
            f"memory ran out at a batch of {shape[0]} clouds of {shape[1]} points; lower training.batch_size, or set "
            f"clouds.points={max(8, shape[1] // 2)}"
        )
    size = " x ".join(str(n) for n in shape[2:])
    first = "set training.batch_size=1, " if shape[0] > 1 else ""
    return (
        f"memory ran out at a batch of {shape[0]} patches of {size} voxels; {first}"
        f"set training.patch_size={smaller_patch(shape[2:])}, or set training.gradient_checkpointing=true"
    ).replace(" patches", " patch" if shape[0] == 1 else " patches", 1)


def _not_finite(what: str, batch: Batch, step: int, folder: Path | None) -> RunError:
    where = f"; the batch is in {_save(batch, step, folder)}" if folder is not None else ""
    return RunError(
        f"{what}; its patches came from {', '.join(batch.cases)}{where}. "
        "Look at those files with `dimlift check`, or lower training.rate"
    )


def _save(batch: Batch, step: int, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"refused-batch-{step:08d}.safetensors"
    with written_whole(path) as scratch:
        save_file({name: value.detach().cpu().contiguous() for name, value in _tensors(batch)}, scratch)
    write_json(path.with_suffix(".json"), {"step": step, "cases": list(batch.cases)})
    return path


def _tensors(batch: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of a batch, and of batches within it, by name."""
    for name, value in batch._asdict().items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        elif hasattr(value, "_asdict"):
            yield from _tensors(value, f"{prefix}{name}/")
