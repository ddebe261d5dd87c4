"""Contrast between two views of the same things: each must find its own among all others."""

from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch import distributed as processes
from torch.distributed.nn.functional import all_gather

from dimlift.errors import ShapeError


def info_nce(
    queries: Float[Tensor, "pairs channels"],
    keys: Float[Tensor, "pairs channels"],
    temperature: float,
    gather: bool = False,
) -> Float[Tensor, ""]:
    """Row i of the queries must pick row i of the keys (van den Oord et al., 2018, https://arxiv.org/abs/1807.03748).

    -mean_i log softmax_j(q_i . k_j / temperature)_i, rows made of length one. One direction: only keys are negatives.

    Args:
        gather: with several processes, the keys of all of them are candidates. Every process gives as many pairs as
            the one with the fewest; the gradient reaches the keys where they were made.

    Raises:
        ShapeError: if there are not as many keys as queries, or fewer than two.
    """
    if queries.shape != keys.shape or len(queries) < 2:
        raise ShapeError(f"{tuple(queries.shape)} queries and {tuple(keys.shape)} keys; wanted are two pairs or more")
    first = 0
    if gather and processes.is_available() and processes.is_initialized():
        fewest = torch.tensor(len(queries), device=queries.device)
        processes.all_reduce(fewest, processes.ReduceOp.MIN)
        queries, keys = queries[: int(fewest)], keys[: int(fewest)]
        first = processes.get_rank() * int(fewest)
        keys = torch.cat(cast(tuple[Tensor, ...], all_gather(keys.contiguous())))
    scores = F.normalize(queries.float(), dim=1) @ F.normalize(keys.float(), dim=1).T / temperature
    return F.cross_entropy(scores, torch.arange(len(queries), device=scores.device) + first)


def group_means(
    values: Float[Tensor, "rows channels"], groups: Int[Tensor, " rows"]
) -> Float[Tensor, "groups channels"]:
    """Mean of the rows of each group that has any, in ascending order of its number."""
    _, inverse, counts = groups.unique(return_inverse=True, return_counts=True)
    summed = values.new_zeros(len(counts), values.shape[1]).index_add(0, inverse, values)
    return summed / counts[:, None].to(values)
