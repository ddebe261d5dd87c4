"""Grey depth images of point clouds."""

from typing import Literal

import torch
from torch import Tensor

from dimlift.geometry.views import random_rotations


def depth_to_grey(depth: Tensor) -> Tensor:
    """Convert depths of a view (1 nearest, 2 farthest) to grey values: 1 nearest, 0.5 farthest; 0 stays background."""
    return torch.where(depth > 0, (3 - depth) / 2, 0.0)


def depth_to_rgb(depth: Tensor) -> Tensor:
    """Convert depths of a view (batch, height, width) to grey images (batch, 3, height, width)."""
    return depth_to_grey(depth)[:, None].expand(-1, 3, -1, -1)


def sample_rotations(points: Tensor, kind: Literal["any", "upright"] = "any") -> Tensor:
    """Sample a rotation of each point cloud from torch's global random state."""
    generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
    return random_rotations(len(points), generator, kind).to(points)
