"""Process groups of data-parallel training: rank, world size and collectives.

`torchrun` and `srun` start the same command several times and set rank and world size in the environment. Rank 0 alone
checks data, writes files and prints.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dimlift.errors import RunError


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of a run.

    Attributes:
        rank: index of this process.
        world_size: number of processes.
        num_nodes: number of machines, with equally many processes each.
    """

    rank: int = 0
    world_size: int = 1
    num_nodes: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def local_range(self, count: int) -> range:
        """Return the items of a batch that this process makes; all processes make equally many.

        Raises:
            RunError: if the batch size is not divisible by the world size.
        """
        if count % self.world_size:
            raise RunError(
                f"training.batch_size={count} is not divisible by {self.world_size} processes; set "
                f"training.batch_size={-(-count // self.world_size) * self.world_size}, or start another number of "
                "processes"
            )
        each = count // self.world_size
        return range(self.rank * each, (self.rank + 1) * each)

    def gather(self, *values: float) -> list[list[float]]:
        """Return the values of every process, by rank."""
        return self.gather_async(*values)()

    def gather_async(self, *values: float) -> Callable[[], list[list[float]]]:
        """Start `gather` and return a function that waits for its result."""
        if self.world_size == 1:
            return lambda: [list(values)]
        local = torch.tensor(values, dtype=torch.float64, device=_collective_device())
        gathered = [torch.empty_like(local) for _ in range(self.world_size)]
        work = torch.distributed.all_gather(gathered, local, async_op=True)

        def wait() -> list[list[float]]:
            work.wait()
            return [row.tolist() for row in gathered]

        return wait

    def gather_objects(self, local: Sequence[Any]) -> list[Any]:
        """Return the items of every process, by rank."""
        if self.world_size == 1:
            return list(local)
        gathered: list[Any] = [None] * self.world_size
        torch.distributed.all_gather_object(gathered, list(local))
        return [item for part in gathered for item in part]

    def broadcast_state(self, module: nn.Module) -> None:
        """Copy the weights and statistics of rank 0 to every process."""
        if self.world_size > 1:
            for value in module.state_dict().values():
                buffer = value.to(_collective_device())
                torch.distributed.broadcast(buffer, 0)
                value.copy_(buffer)


def _collective_device() -> str:
    """Return the device of collectives: cuda under NCCL, else cpu."""
    return "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"


def current_group() -> ProcessGroup:
    """Return the process group described by the environment of `torchrun` or `srun`."""
    get = os.environ.get
    if get("TORCHELASTIC_RUN_ID") and get("WORLD_SIZE"):
        size = int(os.environ["WORLD_SIZE"])
        return ProcessGroup(int(os.environ["RANK"]), size, size // int(os.environ["LOCAL_WORLD_SIZE"]))
    if get("SLURM_PROCID") and get("SLURM_NTASKS") and get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        return ProcessGroup(
            int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"]), int(get("SLURM_NNODES", "1"))
        )
    return ProcessGroup()


def complete_srun_environment(group: ProcessGroup) -> None:
    """Set the variables of `srun` that Lightning needs and `srun --ntasks=N` leaves out; call it before Fabric.

    Raises:
        RunError: if the processes are not spread evenly over the machines.
    """
    if group.world_size == 1 or "TORCHELASTIC_RUN_ID" in os.environ or "SLURM_NTASKS" not in os.environ:
        return
    if group.world_size % group.num_nodes:
        raise RunError(
            f"srun started {group.world_size} processes on {group.num_nodes} machines, which is not the same number on "
            "each; start it with --ntasks-per-node"
        )
    each = group.world_size // group.num_nodes
    os.environ["SLURM_NTASKS_PER_NODE"] = str(each)  # that of the job may be another one than that of this step
    os.environ.setdefault("SLURM_NODEID", str(group.rank // each))
    os.environ.setdefault("SLURM_LOCALID", str(group.rank % each))


def require_single_process(command: str, fix: str) -> None:
    """Check that a command that runs in one process was started once.

    Args:
        command: name of the command.
        fix: what to do instead, for the error message.

    Raises:
        RunError: if several processes were started.
    """
    if (size := current_group().world_size) > 1:
        raise RunError(f"`dimlift {command}` runs in one process, but {size} were started; {fix}")
