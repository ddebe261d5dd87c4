"""Fully sharded data parallel training: each process holds a shard of every weight, gradient and moment.

Uses the second version (`fully_shard`), which Lightning Fabric offers as a model-parallel strategy; its FSDPStrategy
does not support CPUs. Zhao et al., PyTorch FSDP, 2023, https://arxiv.org/abs/2304.11277
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from dimlift.config.sections import TrainingSection
from dimlift.errors import RunError
from dimlift.training.distributed import ProcessGroup

MIN_BLOCK_SIZE = 1_000_000
"""Parameters of a block that is sharded on its own; for smaller blocks communication takes longer than computation."""


def is_sharded(training: TrainingSection, group: ProcessGroup) -> bool:
    """Return whether each process of a run holds a shard of the network."""
    return training.strategy == "fsdp" and group.world_size > 1


def fsdp_strategy(group: ProcessGroup) -> Any:
    """Return the Fabric strategy that shards a method over all processes."""
    from lightning.fabric.strategies import ModelParallelStrategy

    return ModelParallelStrategy(
        lambda method, mesh: shard(method, mesh["data_parallel"]),
        data_parallel_size=group.world_size,
        tensor_parallel_size=1,
    )


def shard(method: nn.Module, mesh: Any) -> nn.Module:
    """Shard a method in place: large blocks of its sequences each on its own, then the rest.

    Args:
        method: the method.
        mesh: device mesh with one axis.

    Raises:
        RunError: if a parameter is a scalar, which cannot be sharded.
    """
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    scalars = [name for name, value in method.named_parameters() if value.ndim == 0]
    if scalars:
        raise RunError(
            f"{scalars[0]} is a scalar parameter, which cannot be sharded over processes; train this network with "
            "training.strategy=ddp"
        )
    for value in method.parameters():
        value.data = value.data.contiguous()  # shards are cut along the first axis, so no channels-last memory
    sequences = [module for module in method.modules() if isinstance(module, nn.Sequential | nn.ModuleList)]
    for sequence in reversed(sequences):  # innermost first: an outer block gets what its inner blocks leave
        for block in sequence.children():
            if not isinstance(block, nn.ModuleList) and sum(p.numel() for p in block.parameters()) >= MIN_BLOCK_SIZE:
                block.register_forward_hook(_clone_view)
                fully_shard(block, mesh=mesh)
    fully_shard(method, mesh=mesh)
    register_fsdp_forward_method(method, "loss")  # training calls `loss`, not `forward`
    return method


def _clone_view(_block: nn.Module, _inputs: Any, output: Any) -> Any:
    """Clone outputs that are views: an in-place addition to one would lose the hook that gathers the block again."""
    return output.clone() if isinstance(output, Tensor) and output._is_view() else output


def full_tensor(value: Tensor) -> Tensor:
    """Return all of a sharded tensor, a collective of all processes; other tensors are returned unchanged."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value  # avoids the slow import of DTensor


def shard_like(value: Tensor, like: Tensor) -> Tensor:
    """Return this process's shard of a full tensor, sharded as `like`; without communication."""
    if not hasattr(like, "full_tensor"):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    like = cast(DTensor, like)
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


@torch.no_grad()
def gather_method(method: nn.Module, trained: nn.Module, device: torch.device, group: ProcessGroup) -> nn.Module:
    """Copy the trained weights of all processes into the full method, and return it.

    Args:
        method: the full method; moved to `device` if the trained one is sharded.
        trained: what this process trained: the method itself, or its shard, which is gathered tensor by tensor.
        device: device of training.
        group: the processes of the run.
    """
    if trained is not method:
        shards = trained.state_dict()
        for name, value in method.to(device).state_dict().items():
            value.copy_(full_tensor(shards[name]))
    group.broadcast_state(method)
    return method
