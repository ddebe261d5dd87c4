"""Visible tokens of a masked autoencoder."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dimlift.errors import ShapeError
from dimlift.geometry.patches import Patches


def sample_visible(
    scores: Float[Tensor, "batch tokens"], mask_ratio: float, temperature: float = 1.0
) -> Bool[Tensor, "batch tokens"]:
    """Sample the visible tokens of each point cloud without replacement, by softmax(scores / temperature).

    Equal scores mask uniformly. Every point cloud has tokens - int(mask_ratio * tokens) visible tokens.

    Args:
        scores: higher scores are visible more often.
        mask_ratio: fraction of the tokens that is masked.
        temperature: small values follow the scores, large values approach uniform sampling.

    Raises:
        ShapeError: if no token or every token would be masked.
    """
    count = scores.shape[1]
    masked = int(mask_ratio * count)
    if not 0 < masked < count or temperature <= 0:
        raise ShapeError(
            f"mask_ratio {mask_ratio:g} masks {masked} of {count} tokens, at temperature {temperature:g}; at least one "
            "token must be masked and one visible, at a temperature above 0"
        )
    # the largest log-weights with Gumbel noise are samples without replacement (Kool et al., 2019, arXiv 1903.06059)
    noise = -torch.log(-torch.log(torch.rand_like(scores).clamp(1e-9, 1 - 1e-7)))
    chosen = (scores / temperature + noise).topk(count - masked, dim=1).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter(1, chosen, True)


def sample_visible_uniformly(tokens: Tensor, mask_ratio: float) -> Bool[Tensor, "batch tokens"]:
    """Sample visible tokens uniformly, for tokens of shape (batch, tokens, ...)."""
    return sample_visible(torch.zeros(tokens.shape[:2], device=tokens.device), mask_ratio)


def standardise_scores(scores: Float[Tensor, "batch tokens"]) -> Float[Tensor, "batch tokens"]:
    """Scale the scores of each point cloud to zero mean and unit standard deviation."""
    return (scores - scores.mean(1, keepdim=True)) / scores.std(1, keepdim=True).clamp_min(1e-9)


def leakage(
    num_points: int, levels: Sequence[Patches], level: int, visible: Sequence[Bool[Tensor, "batch _"]]
) -> Float[Tensor, ""]:
    """Return the fraction of the masked patches' members that are visible through overlapping patches.

    Such members can be copied instead of predicted. With several levels the members of a masked patch are finer
    tokens, some of which are visible; with one level they are points, some of which also belong to visible patches.

    Args:
        num_points: points of a point cloud.
        level: level whose masked patches are predicted.
        visible: visible patches of every level, finest first.
    """
    members, masked = levels[level].members, ~visible[level]
    if level:
        shown = visible[level - 1]
    else:
        shown = torch.zeros(len(members), num_points, dtype=torch.bool, device=members.device)
        for row, patches, seen in zip(shown, members, visible[0], strict=True):
            row[patches[seen].flatten()] = True
    leaked = shown[:, None].expand(-1, members.shape[1], -1).gather(2, members)
    return leaked[masked].float().mean()
