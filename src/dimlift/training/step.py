"""One optimizer step, with checks for non-finite losses and gradients and for exhausted memory."""

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
from dimlift.records.atomic_write import atomic_write
from dimlift.records.record import write_json
from dimlift.training.distributed import ProcessGroup
from dimlift.training.fabric import autocast_for
from dimlift.training.float32_convolution import guard_convolutions
from dimlift.training.fsdp import full_tensor

PATCH_MULTIPLE = 8
_ALLOCATOR = re.compile(
    r"can't allocate memory|not enough memory|out of memory|bad_alloc|could not create a primitive", re.IGNORECASE
)


def training_step(
    fabric: Any,
    module: Any,
    optimizer: Any,
    batch: Batch,
    training: TrainingSection,
    step: int,
    save_to: Path | None = None,
    group: ProcessGroup = ProcessGroup(),  # noqa: B008 - immutable
) -> float:
    """Take one optimizer step and return the loss, averaged over all processes.

    Args:
        fabric: Lightning Fabric.
        module: the method, as returned by `fabric.setup_module`.
        optimizer: the optimizer, as returned by `fabric.setup_optimizers`.
        batch: the batch of this process.
        training: precision and gradient clipping.
        step: index of the step, for messages.
        save_to: folder for a batch with a non-finite loss or gradient; not saved if None.
        group: the processes of the run.

    Raises:
        RunError: for a non-finite loss or gradient, before any weight changes; if memory runs out; for an operation
            without deterministic kernel; for batch norm over a single value.
    """
    try:
        optimizer.zero_grad(set_to_none=True)
        with guard_convolutions(training.precision, fabric.device):
            with autocast_for(training.precision, fabric.device):
                loss: Tensor = module.loss(batch)
            losses = group.gather_async(float(loss.detach()))  # overlaps with the backward pass
            fabric.backward(loss)
        values = [value for (value,) in losses()]
        mean_loss = sum(values) / len(values)
        if not math.isfinite(mean_loss):
            if math.isfinite(values[group.rank]):
                failed = [rank for rank, value in enumerate(values) if not math.isfinite(value)]
                raise RunError(f"the loss of step {step} is {mean_loss} in process {failed}, which lists the cases")
            raise _not_finite(f"the loss of step {step} is {mean_loss}", batch, step, save_to)
        max_norm = training.grad_clip_norm or math.inf
        norm = fabric.clip_gradients(module, optimizer, max_norm=max_norm, error_if_nonfinite=False)
        if norm is not None and not math.isfinite(size := float(full_tensor(norm))):
            raise _not_finite(f"the gradient of step {step} is {size}", batch, step, save_to)
        optimizer.step()
    except ValueError as fault:
        if "more than 1 value per channel" not in str(fault):
            raise
        raise RunError(_batch_norm_advice(batch.image.shape)) from fault
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as fault:
        if "does not have a deterministic implementation" in str(fault):
            operation = str(fault).split(" does not have")[0]
            raise RunError(
                f"{operation} has no deterministic kernel on this device; train without --deterministic "
                "(training.deterministic=false), or with training.device=cpu"
            ) from fault
        if not is_out_of_memory(fault):
            raise
        raise RunError(_memory_advice(batch.image.shape)) from fault
    return mean_loss


def is_out_of_memory(fault: BaseException) -> bool:
    """Return whether an exception is about exhausted memory; the CPU allocator raises a plain RuntimeError."""
    if isinstance(fault, torch.OutOfMemoryError | MemoryError):
        return True
    return type(fault) is RuntimeError and _ALLOCATOR.search(str(fault)) is not None


def suggest_patch_size(size: Sequence[int]) -> list[int]:
    """Return the next smaller patch size: the longest axis halved, in multiples of 8 voxels."""
    smaller = list(size)
    longest = smaller.index(max(smaller))
    smaller[longest] = max(1, smaller[longest] // 2 // PATCH_MULTIPLE) * PATCH_MULTIPLE
    return smaller


def _memory_advice(shape: Sequence[int]) -> str:
    if len(shape) == 3:  # point clouds
        return (
            f"memory ran out with a batch of {shape[0]} point clouds of {shape[1]} points; lower training.batch_size, "
            f"or set point_clouds.num_points={max(8, shape[1] // 2)}"
        )
    size = " x ".join(str(n) for n in shape[2:])
    first = "set training.batch_size=1, " if shape[0] > 1 else ""
    patches = "patch" if shape[0] == 1 else "patches"
    return (
        f"memory ran out with a batch of {shape[0]} {patches} of {size} voxels; {first}"
        f"set training.patch_size={suggest_patch_size(shape[2:])}, or set training.gradient_checkpointing=true"
    )


def _batch_norm_advice(shape: Sequence[int]) -> str:
    larger = (
        "point_clouds.num_points" if len(shape) == 3 else f"training.patch_size (now {' x '.join(map(str, shape[2:]))})"
    )
    return (
        f"batch norm has a single value per channel in the deepest layer, from a batch of {shape[0]}, and cannot "
        f"compute a variance; set training.batch_size={2 * shape[0]} or more, or a larger {larger}"
    )


def _not_finite(problem: str, batch: Batch, step: int, folder: Path | None) -> RunError:
    saved = f"; the batch is saved in {_save(batch, step, folder)}" if folder is not None else ""
    return RunError(
        f"{problem}; its patches came from {', '.join(batch.cases)}{saved}. Check those files with `dimlift check`, or "
        "lower training.lr"
    )


def _save(batch: Batch, step: int, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"rejected-batch-{step:08d}.safetensors"
    with atomic_write(path) as scratch:
        save_file({name: value.detach().cpu().contiguous() for name, value in _tensors(batch)}, scratch)
    write_json(path.with_suffix(".json"), {"step": step, "cases": list(batch.cases)})
    return path


def _tensors(batch: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a batch, nested batches included, by name."""
    for name, value in batch._asdict().items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        elif hasattr(value, "_asdict"):
            yield from _tensors(value, f"{prefix}{name}/")
