"""Contrastive loss and means over groups of rows."""

from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, distributed
from torch.distributed.nn.functional import all_gather

from dimlift.errors import ShapeError


def info_nce(
    queries: Float[Tensor, "pairs channels"],
    keys: Float[Tensor, "pairs channels"],
    temperature: float,
    gather: bool = False,
) -> Float[Tensor, ""]:
    """Return the InfoNCE loss (van den Oord et al., 2018, https://arxiv.org/abs/1807.03748).

    -mean_i log softmax_j(q_i . k_j / temperature)_i with L2-normalised rows; the negatives of a query are the other
    keys.

    Args:
        queries: one row per pair.
        keys: the positive key of each query.
        temperature: temperature of the softmax.
        gather: with several processes, use the keys of all of them as candidates. Every process uses as many pairs as
            the one with the fewest; the gradient reaches the keys in the process that computed them.

    Raises:
        ShapeError: if queries and keys differ in shape, or there are fewer than two pairs.
    """
    if queries.shape != keys.shape or len(queries) < 2:
        raise ShapeError(
            f"expected at least two pairs, got queries {tuple(queries.shape)} and keys {tuple(keys.shape)}"
        )
    first = 0
    if gather and distributed.is_available() and distributed.is_initialized():
        fewest = torch.tensor(len(queries), device=queries.device)
        distributed.all_reduce(fewest, distributed.ReduceOp.MIN)
        queries, keys = queries[: int(fewest)], keys[: int(fewest)]
        first = distributed.get_rank() * int(fewest)
        keys = torch.cat(cast(tuple[Tensor, ...], all_gather(keys.contiguous())))
    scores = F.normalize(queries.float(), dim=1) @ F.normalize(keys.float(), dim=1).T / temperature
    return F.cross_entropy(scores, torch.arange(len(queries), device=scores.device) + first)


def group_means(
    values: Float[Tensor, "rows channels"], groups: Int[Tensor, " rows"]
) -> Float[Tensor, "groups channels"]:
    """Return the mean of the rows of each group that occurs, in ascending order of the group number."""
    _, inverse, counts = groups.unique(return_inverse=True, return_counts=True)
    sums = values.new_zeros(len(counts), values.shape[1]).index_add(0, inverse, values)
    return sums / counts[:, None].to(values)
