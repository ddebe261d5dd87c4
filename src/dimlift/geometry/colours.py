"""Colours for features, and a picture of coloured points: to look at what a network sees."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dimlift.geometry.cameras import Camera, visible

SHADE = (0.01, 0.99)
"""Quantiles of a component that become black and full colour."""


def feature_colours(
    features: Float[Tensor, "points channels"], known: Bool[Tensor, " points"] | None = None
) -> Float[Tensor, "points 3"]:
    """The first three principal components as red, green and blue from 0 to 1.

    Args:
        known: points that have features; the others become grey.
    """
    known = torch.ones(len(features), dtype=torch.bool, device=features.device) if known is None else known
    colours = torch.full((len(features), 3), 0.5, device=features.device)
    rows = features[known].double()
    if len(rows) < 2:
        return colours
    centred = rows - rows.mean(0)
    _, axes = torch.linalg.eigh(centred.T @ centred / len(rows))
    axes = axes[:, -3:].flip(1)
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    components = centred @ (axes * largest.sign())  # an axis has no sign of its own
    ordered = components.sort(0).values
    low, high = (ordered[round(share * (len(rows) - 1))] for share in SHADE)
    shades = ((components - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    colours[known] = torch.nn.functional.pad(shades, (0, 3 - shades.shape[1]), value=0.5).float()
    return colours


def picture_of(
    points: Float[Tensor, "points 3"], colours: Float[Tensor, "points 3"], camera: Camera
) -> Float[Tensor, "3 height width"]:
    """Points as a camera sees them, the nearest of each pixel; white where there is none."""
    canvas = torch.ones(camera.size[0] * camera.size[1], 3, dtype=colours.dtype)
    sight = visible(points, camera, tolerance=1e-9)
    canvas[sight.pixels] = colours[sight.points]
    return canvas.T.reshape(3, *camera.size)
