"""One network in shares: a process keeps its part of every weight, gradient and moment, and borrows a block's rest.

Fully sharded data parallel, the second form of it (`fully_shard`), which lightning's Fabric knows as a model-parallel
strategy; its FSDPStrategy refuses processors. Zhao et al., PyTorch FSDP, 2023, https://arxiv.org/abs/2304.11277
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from dimlift.config.sections import TrainingSection
from dimlift.errors import RunError
from dimlift.training.distributed import Team

BLOCK = 1_000_000
"""Numbers a block holds at least to be gathered by itself: for fewer, asking the others takes longer than computing."""


def is_sharded(training: TrainingSection, together: Team) -> bool:
    """Whether each process of a run keeps a part of the network; one process alone keeps it all."""
    return training.strategy == "fsdp" and together.size > 1


def sharding(together: Team) -> Any:
    """Fabric's strategy that shares a method out over all processes."""
    from lightning.fabric.strategies import ModelParallelStrategy

    return ModelParallelStrategy(
        lambda method, mesh: shard(method, mesh["data_parallel"]),
        data_parallel_size=together.size,
        tensor_parallel_size=1,
    )


def shard(method: nn.Module, mesh: Any) -> nn.Module:
    """Share out a method in place: the blocks of its sequences each by itself, then what is left.

    Args:
        mesh: of the processes, one axis.

    Raises:
        RunError: if a weight is a single number without axis, which cannot be cut.
    """
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    single = [name for name, value in method.named_parameters() if value.ndim == 0]
    if single:
        raise RunError(
            f"{single[0]} is a single number, which cannot be shared out over processes; "
            "train this network with training.strategy=ddp"
        )
    for value in method.parameters():
        value.data = value.data.contiguous()  # cut along the first axis; channels cannot lie innermost
    sequences = [module for module in method.modules() if isinstance(module, nn.Sequential | nn.ModuleList)]
    for sequence in reversed(sequences):  # innermost first: a block is what the blocks within it leave
        for block in sequence.children():
            if not isinstance(block, nn.ModuleList) and sum(p.numel() for p in block.parameters()) >= BLOCK:
                block.register_forward_hook(_in_memory_of_its_own)
                fully_shard(block, mesh=mesh)
    fully_shard(method, mesh=mesh)
    register_fsdp_forward_method(method, "loss")  # a method is asked for its loss, not called
    return method


def _in_memory_of_its_own(_block: nn.Module, _inputs: Any, answer: Any) -> Any:
    """A view that somebody adds to in place would lose what gathers the block again for the backward pass."""
    return answer.clone() if isinstance(answer, Tensor) and answer._is_view() else answer


def whole(value: Tensor) -> Tensor:
    """All of a tensor each process holds a part of; every process has to ask. Others are given back."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def part_like(value: Tensor, mine: Tensor) -> Tensor:
    """This process's part of a whole tensor, cut as `mine` is; nothing is sent."""
    if not hasattr(mine, "full_tensor"):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    mine = cast(DTensor, mine)
    return distribute_tensor(value.to(mine.device), mine.device_mesh, mine.placements, src_data_rank=None)


@torch.no_grad()
def gathered(method: nn.Module, own: nn.Module, device: torch.device, together: Team) -> nn.Module:
    """The whole method, alike in every process, on `device` if it was in shares.

    Args:
        own: what this process trained: the method itself, or its part of it, which is then gathered tensor by tensor.
    """
    if own is not method:
        parts = own.state_dict()
        for name, value in method.to(device).state_dict().items():
            value.copy_(whole(parts[name]))
    together.align(method)
    return method
