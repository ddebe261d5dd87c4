"""Which tokens a masked autoencoder may see."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dimlift.errors import ShapeError
from dimlift.geometry.patches import Patches


def draw_visible(
    scores: Float[Tensor, "batch tokens"], masked: float, temperature: float = 1.0
) -> Bool[Tensor, "batch tokens"]:
    """Draw the visible tokens of each cloud, one after the other, by softmax(scores / temperature).

    Equal scores mask at random. As many are visible in every cloud: tokens - int(masked * tokens).

    Args:
        scores: higher is likelier to be seen.
        masked: share of the tokens that is hidden.
        temperature: small values follow the scores, large ones chance.

    Raises:
        ShapeError: if nothing would be visible, or nothing masked.
    """
    count = scores.shape[1]
    hidden = int(masked * count)
    if not 0 < hidden < count or temperature <= 0:
        raise ShapeError(
            f"masking {masked:g} of {count} tokens hides {hidden} of them, at temperature {temperature:g}; at least "
            "one must be hidden and one seen, at a temperature above 0"
        )
    # the largest of log-weights with Gumbel noise are draws without replacement (Kool et al., 2019, arXiv 1903.06059)
    noise = -torch.log(-torch.log(torch.rand_like(scores).clamp(1e-9, 1 - 1e-7)))
    chosen = (scores / temperature + noise).topk(count - hidden, dim=1).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter(1, chosen, True)


def at_random(like: Tensor, masked: float) -> Bool[Tensor, "batch tokens"]:
    """Visible tokens drawn evenly, for tokens (batch, tokens, ...)."""
    return draw_visible(torch.zeros(like.shape[:2], device=like.device), masked)


def standardised(scores: Float[Tensor, "batch tokens"]) -> Float[Tensor, "batch tokens"]:
    """Scores of each cloud with mean zero and deviation one."""
    return (scores - scores.mean(1, keepdim=True)) / scores.std(1, keepdim=True).clamp_min(1e-9)


def in_sight(
    points: int, levels: Sequence[Patches], level: int, visible: Sequence[Bool[Tensor, "batch _"]]
) -> Float[Tensor, ""]:
    """Share of what the hidden patches of a level hold that stands in sight all the same: patches overlap.

    What is in sight has only to be copied. With several levels a hidden patch holds finer tokens, and some of them are
    visible; with one it holds points, and some of them belong to visible patches too.

    Args:
        points: of a cloud.
        level: whose patches are to be foreseen.
        visible: patches of every level, finest first.
    """
    members, hidden = levels[level].members, ~visible[level]
    if level:
        shown = visible[level - 1]
    else:
        shown = torch.zeros(len(members), points, dtype=torch.bool, device=members.device)
        for cloud, patches, seen in zip(shown, members, visible[0], strict=True):
            cloud[patches[seen].flatten()] = True
    held = shown[:, None].expand(-1, members.shape[1], -1).gather(2, members)
    return held[hidden].float().mean()
