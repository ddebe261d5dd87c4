"""Processes that train one network together: who they are, and what they tell each other.

`torchrun` and `srun` start the same command several times and say in the environment which of them a process is.
Process 0 leads: it alone checks, writes and speaks.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dimlift.errors import RunError


@dataclass(frozen=True)
class Team:
    """The processes of a run.

    Attributes:
        rank: number of this process, counted from 0.
        size: number of processes.
        machines: number of machines they are on, as many on each.
    """

    rank: int = 0
    size: int = 1
    machines: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def share_of(self, count: int) -> range:
        """The items of a batch this process makes: equal runs, so that their mean of means is the mean.

        Raises:
            RunError: if the batch does not fall into equal shares.
        """
        if count % self.size:
            raise RunError(
                f"training.batch_size={count} does not fall into equal shares for {self.size} processes; "
                f"set training.batch_size={-(-count // self.size) * self.size}, or start another number of processes"
            )
        each = count // self.size
        return range(self.rank * each, (self.rank + 1) * each)

    def gather(self, *values: float) -> list[list[float]]:
        """The values of every process, by rank."""
        return self.asked(*values)()

    def asked(self, *values: float) -> Callable[[], list[list[float]]]:
        """`gather` in two halves, with work between: this tells the others, what it gives back waits for them."""
        if self.size == 1:
            return lambda: [list(values)]
        mine = torch.tensor(values, dtype=torch.float64, device=_where_spoken())
        found = [torch.empty_like(mine) for _ in range(self.size)]
        under_way = torch.distributed.all_gather(found, mine, async_op=True)

        def answers() -> list[list[float]]:
            under_way.wait()
            return [row.tolist() for row in found]

        return answers

    def gather_lists(self, mine: Sequence[Any]) -> list[Any]:
        """The items of every process, by rank."""
        if self.size == 1:
            return list(mine)
        found: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(found, list(mine))
        return [item for part in found for item in part]

    def align(self, module: nn.Module) -> None:
        """Give every process the weights and statistics of process 0."""
        if self.size > 1:
            for value in module.state_dict().values():
                spoken = value.to(_where_spoken())
                torch.distributed.broadcast(spoken, 0)
                value.copy_(spoken)


def _where_spoken() -> str:
    """Where a tensor has to lie for the others to hear of it."""
    return "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"


def team() -> Team:
    """The processes this one belongs to, by the environment `torchrun` or `srun` made for it."""
    say = os.environ.get
    if say("TORCHELASTIC_RUN_ID") and say("WORLD_SIZE"):
        size = int(os.environ["WORLD_SIZE"])
        return Team(int(os.environ["RANK"]), size, size // int(os.environ["LOCAL_WORLD_SIZE"]))
    if say("SLURM_PROCID") and say("SLURM_NTASKS") and say("SLURM_JOB_NAME") not in ("bash", "interactive"):
        return Team(int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"]), int(say("SLURM_NNODES", "1")))
    return Team()


def require_alone(command: str, remedy: str) -> None:
    """Raises: RunError, if several processes were started for a command that is one process."""
    if (size := team().size) > 1:
        raise RunError(f"`dimlift {command}` is one process, but {size} were started; {remedy}")
