"""Visualise features of points: principal components as colours, and rendering of coloured points."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dimlift.geometry.cameras import Camera, compute_visibility

QUANTILES = (0.01, 0.99)
"""Quantiles of a component that are mapped to 0 and 1."""


def feature_colours(
    features: Float[Tensor, "points channels"], known: Bool[Tensor, " points"] | None = None
) -> Float[Tensor, "points 3"]:
    """Return the first three principal components as RGB from 0 to 1.

    Args:
        features: features of the points.
        known: points that have features; the others become grey. None for all.
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
    components = centred @ (axes * largest.sign())  # eigenvectors have an arbitrary sign
    ordered = components.sort(0).values
    low, high = (ordered[round(quantile * (len(rows) - 1))] for quantile in QUANTILES)
    scaled = ((components - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    colours[known] = torch.nn.functional.pad(scaled, (0, 3 - scaled.shape[1]), value=0.5).float()
    return colours


def render_points(
    points: Float[Tensor, "points 3"], colours: Float[Tensor, "points 3"], camera: Camera
) -> Float[Tensor, "3 height width"]:
    """Return an image of coloured points, the nearest one per pixel, on white."""
    canvas = torch.ones(camera.size[0] * camera.size[1], 3, dtype=colours.dtype)
    visibility = compute_visibility(points, camera, tolerance=1e-9)
    canvas[visibility.pixels] = colours[visibility.points]
    return canvas.T.reshape(3, *camera.size)
