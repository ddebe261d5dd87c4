"""Device and processes of training, through lightning's Fabric; arithmetic, and how kernels lie in memory."""

import atexit
import logging
from typing import Any

import torch
from torch import nn

from dimlift.config.sections import TrainingSection
from dimlift.errors import RunError
from dimlift.training.distributed import Team
from dimlift.training.fsdp import is_sharded, sharding


def fabric_for(training: TrainingSection, together: Team) -> Any:
    """Lightning's Fabric, launched.

    Raises:
        RunError: if a GPU is asked for and there is none.
    """
    from dimlift.backbones.torchvision_ops import ensure_torchvision_imports

    ensure_torchvision_imports()
    from lightning.fabric import Fabric
    from lightning.fabric.strategies import DDPStrategy

    if training.device == "cuda" and not torch.cuda.is_available():
        raise RunError("training.device is 'cuda', but torch sees no GPU; set training.device=cpu or auto")
    for name in ("lightning.fabric", "lightning.pytorch"):  # either may announce the precision at every start
        logging.getLogger(name).setLevel(logging.WARNING)
    alike = DDPStrategy(
        find_unused_parameters=True,  # a method need not use all it holds: a map nobody reads, a missing sequence
        broadcast_buffers=False,  # statistics of process 0 count; the others hear of them when it matters (`gathered`)
        gradient_as_bucket_view=True,  # what is sent is the gradient itself, not a copy
    )
    shared = sharding(together) if is_sharded(training, together) else alike
    fabric = Fabric(
        accelerator="cuda" if trains_on_gpu(training) else "cpu",
        devices=together.size // together.machines,
        num_nodes=together.machines,
        strategy=shared if together.size > 1 else "auto",
    )
    fabric.launch()
    if together.size > 1:
        atexit.register(leave_group)
    return fabric


def arithmetic(training: TrainingSection, device: torch.device) -> torch.autocast:
    """Mixed precision if it is wanted. Fabric's own wraps `forward` alone, and a method is asked for its loss."""
    return torch.autocast(device.type, torch.bfloat16, enabled=training.precision == "bf16")


def leave_group() -> None:
    """Take leave of the other processes. Without it, threads of gloo may still run while the program ends: an abort."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def trains_on_gpu(training: TrainingSection) -> bool:
    """Whether a GPU is there and wanted."""
    return training.device != "cpu" and torch.cuda.is_available()


def laid_out(method: nn.Module, training: TrainingSection, together: Team) -> None:
    """Kernels with their channels innermost, which is faster and makes folding depth a view.

    Batch norms of several GPUs take their statistics over all of them; torch has no such norm for processors.
    """
    if together.size > 1 and trains_on_gpu(training):
        nn.SyncBatchNorm.convert_sync_batchnorm(method)
    for parameter in method.parameters():
        if parameter.ndim == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
        elif parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
