"""Device, precision and processes of training, through Lightning Fabric."""

import atexit
import gc
import logging
from typing import Any

import torch
from torch import nn

from dimlift.config.sections import TrainingSection
from dimlift.errors import RunError
from dimlift.training.distributed import ProcessGroup, complete_srun_environment
from dimlift.training.fsdp import fsdp_strategy, is_sharded


def make_fabric(training: TrainingSection, group: ProcessGroup) -> Any:
    """Return a launched Fabric.

    Raises:
        RunError: if a GPU is requested and there is none, or `srun` spread the processes unevenly.
    """
    from dimlift.backbones.torchvision_ops import ensure_torchvision_imports

    ensure_torchvision_imports()
    from lightning.fabric import Fabric
    from lightning.fabric.strategies import DDPStrategy

    if training.device == "cuda" and not torch.cuda.is_available():
        raise RunError("training.device is 'cuda', but torch finds no GPU; set training.device=cpu or auto")
    complete_srun_environment(group)
    for name in ("lightning.fabric", "lightning.pytorch"):  # either may print the precision at every start
        logging.getLogger(name).setLevel(logging.WARNING)
    ddp = DDPStrategy(
        find_unused_parameters=True,  # a method may have unused parameters: a map without reader, a missing sequence
        broadcast_buffers=False,  # statistics of rank 0 are broadcast when they are used (`gather_method`)
        gradient_as_bucket_view=True,
    )
    strategy = fsdp_strategy(group) if is_sharded(training, group) else ddp
    fabric = Fabric(
        accelerator="cuda" if uses_gpu(training) else "cpu",
        devices=group.world_size // group.num_nodes,
        num_nodes=group.num_nodes,
        strategy=strategy if group.world_size > 1 else "auto",
    )
    fabric.launch()
    if group.world_size > 1:
        atexit.register(destroy_group)
    return fabric


def autocast_for(precision: str, device: torch.device) -> torch.autocast:
    """Return the autocast context of a training step. Fabric's own covers `forward` only, not `loss`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def destroy_group() -> None:
    """Destroy the process group; otherwise threads of gloo may still run at exit and abort the process."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        gc.collect()  # DDP modules lie in reference cycles and hold the group, whose destructor joins the threads


def uses_gpu(training: TrainingSection) -> bool:
    """Return whether training runs on a GPU."""
    return training.device != "cpu" and torch.cuda.is_available()


def set_memory_format(method: nn.Module, training: TrainingSection, group: ProcessGroup) -> None:
    """Set kernels to channels-last memory, which is faster and makes folding depth a view.

    With several GPUs, batch norms also become synchronised; torch has no synchronised batch norm for CPUs.
    """
    if group.world_size > 1 and uses_gpu(training):
        nn.SyncBatchNorm.convert_sync_batchnorm(method)
    for parameter in method.parameters():
        if parameter.ndim == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
        elif parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
