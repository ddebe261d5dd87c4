"""The loss of a predictor that knows the centre of a masked patch and nothing else.

A masked autoencoder whose reconstruction loss is not below it has learned where patches lie, not what the visible
patches say about the masked ones.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.geometry.chamfer import chamfer_distance

STEPS, HIDDEN, LR = 300, 128, 3e-3


def fit_blind_baseline(
    centres: Float[Tensor, "patches 3"], targets: Float[Tensor, "patches neighbours 3"]
) -> float | None:
    """Return the CD-L2 of the predictor on patches that it was not fitted to; None for fewer than 8 patches.

    An MLP from the centre to the points of the patch is fitted to every other patch. The global random state is
    unchanged.

    Args:
        centres: centres of masked patches.
        targets: their points, relative to the centres.
    """
    if len(centres) < 8:
        return None
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        size = targets[0].numel()
        predictor = nn.Sequential(
            nn.Linear(3, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, size)
        ).to(centres.device)
        optimizer = torch.optim.Adam(predictor.parameters(), LR)
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = chamfer_distance(predictor(centres[::2]).view(-1, *targets.shape[1:]), targets[::2]).mean()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            predicted = predictor(centres[1::2]).view(-1, *targets.shape[1:])
            return float(chamfer_distance(predicted, targets[1::2]).mean())
