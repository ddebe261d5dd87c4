"""Joint-MAE: a cloud and its depth picture are masked together, and each helps to foresee the other.

Guo et al., 2023, https://arxiv.org/abs/2302.14007

    L = CD-L2 of masked patches + MSE of masked pixels + w * cross,
    cross = mean over points foreseen of (how near the point is - what the picture shows where it falls)^2

No code of the authors is public. What the paper leaves open is an argument here, not from authors' code: the radius of
the local-aligned attention, the depths of the decoders, the weight and the exact form of the cross-reconstruction, and
a picture embedding whose kernels never reach across patches, so that nothing masked is read.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dimlift.batch import PointBatch
from dimlift.errors import ShapeError
from dimlift.geometry.chamfer import chamfer
from dimlift.geometry.patches import Patches
from dimlift.geometry.sampling import gather_points
from dimlift.geometry.views import camera_view, from_camera, random_rotations
from dimlift.methods.points.masking import at_random
from dimlift.methods.points.point_mae import patch_points
from dimlift.methods.supervised.param_groups import parameter_groups
from dimlift.models.transformer_blocks import Blocks, Visible, choose
from dimlift.tokenizers.points import position_network

PATCH = 16
"""Pixels of a picture patch, along each side."""


class Picture(NamedTuple):
    """A cloud's depth picture, cut into patches.

    Attributes:
        pixels: of each patch; the nearest point is 1, the farthest 0.5, nothing 0.
        rotation: of the cloud before it was seen.
        depth: the picture itself.
    """

    pixels: Float[Tensor, "batch patches pixels"]
    rotation: Float[Tensor, "batch 3 3"]
    depth: Float[Tensor, "batch 1 size size"]


class JointMAE(nn.Module):
    """Teach an encoder of points beside pictures of the same clouds.

    Args:
        student: its `encoder`'s last level is the joint encoder; alone with points it is the point encoder.
        masked: share of the coarsest patches, and of the picture's, that is hidden.
        radius: a point token and a picture token listen to each other if they are no farther apart in the picture
            than this, in its half widths.
        shared: blocks of the decoder of both.
        specific: blocks of the decoder of each.
        weight: of the cross-reconstruction.
        view_size: height and width of the picture, a multiple of 16.

    Raises:
        ShapeError: if the picture is not a whole number of patches.
    """

    def __init__(
        self,
        student: nn.Module,
        *,
        masked: float = 0.75,
        radius: float = 0.3,
        shared: int = 2,
        specific: int = 1,
        weight: float = 1.0,
        view_size: int = 224,
    ) -> None:
        super().__init__()
        if view_size % PATCH:
            raise ShapeError(f"a picture of {view_size} pixels is no whole number of patches of {PATCH}; change it")
        encoder: Any = student.encoder
        width = encoder.width
        self.model, self.masked, self.radius, self.weight = student, masked, radius, weight
        self.view_size, self.grid = view_size, view_size // PATCH
        quarter, half = width // 4, width // 2
        self.picture = nn.Sequential(
            nn.Conv2d(1, quarter, 4, 4),
            nn.GELU(),
            nn.Conv2d(quarter, half, 2, 2),
            nn.GELU(),
            nn.Conv2d(half, width, 2, 2),
        )
        self.picture_position = nn.Parameter(torch.empty(1, self.grid**2, width))
        self.modality = nn.Parameter(torch.empty(2, width))
        self.unseen = nn.Parameter(torch.empty(2, width))
        for parameter in (self.picture_position, self.modality, self.unseen):
            nn.init.trunc_normal_(parameter, std=0.02)
        self.point_position = position_network(width)
        self.shared = Blocks(width, shared, encoder.heads)
        self.of_points = Blocks(width, specific, encoder.heads)
        self.of_pictures = Blocks(width, specific, encoder.heads)
        self.points = nn.Linear(width, 3 * encoder.neighbours[-1])
        self.pixels = nn.Linear(width, PATCH**2)

    def loss(self, batch: PointBatch) -> Float[Tensor, ""]:
        """All three distances."""
        points = batch.points
        encoder: Any = self.model.encoder
        levels = encoder.cut(points)
        picture = self.draw(points)
        seen = at_random(levels[-1].centres, self.masked), at_random(picture.pixels, self.masked)
        tokens = self.encode(points, levels, picture, *seen)
        of_points, of_pixels = self.decode(*tokens, levels[-1].centres)
        hidden = ~seen[0]
        foreseen = self.points(of_points[hidden]).unflatten(-1, (-1, 3)).float()
        shape = chamfer(foreseen, patch_points(points, levels, len(levels) - 1)[hidden]).mean()
        shade = F.mse_loss(self.pixels(of_pixels[~seen[1]]).float(), picture.pixels[~seen[1]])
        placed = foreseen + levels[-1].centres[hidden][:, None]
        cross = self.cross(placed.unflatten(0, (len(points), -1)).flatten(1, 2), points, picture)
        return shape + shade + self.weight * cross

    def draw(self, points: Float[Tensor, "batch points 3"]) -> Picture:
        """A depth picture of each cloud from a side drawn at random."""
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        rotation = random_rotations(len(points), generator).to(points)
        grey = _nearness(camera_view(points, rotation, self.view_size).depth)
        cut = grey.unflatten(1, (self.grid, PATCH)).unflatten(3, (self.grid, PATCH))
        return Picture(cut.transpose(2, 3).flatten(3).flatten(1, 2), rotation, grey[:, None])

    def encode(
        self,
        points: Tensor,
        levels: list[Patches],
        picture: Picture,
        points_seen: Bool[Tensor, "batch tokens"],
        pixels_seen: Bool[Tensor, "batch patches"],
    ) -> tuple[Float[Tensor, "batch tokens width"], Float[Tensor, "batch patches width"]]:
        """Tokens of the coarsest patches and of the picture's, what is not seen replaced by the token for it."""
        encoder: Any = self.model.encoder
        found: Visible = encoder.below(points, levels, points_seen)[1]
        shown = choose(pixels_seen)
        pixels = gather_points(picture.pixels, shown.chosen).unflatten(-1, (1, PATCH, PATCH))
        seen = self.picture(pixels.flatten(0, 1)).flatten(1).unflatten(0, pixels.shape[:2])
        values = torch.cat([found.values + self.modality[0], seen + self.modality[1]], dim=1)
        of_pixels = self.picture_position.expand(len(points), -1, -1).gather(
            1, shown.chosen[..., None].expand(-1, -1, values.shape[-1])
        )
        positions = torch.cat([encoder.positions[-1](found.centres), of_pixels], dim=1)
        barred = self.far_apart(found.centres, shown.chosen, picture.rotation)
        values = encoder.stages[-1](values, positions, barred=barred)
        count = found.values.shape[1]
        spread = (
            found.spread(values[:, :count], points_seen.shape[1]),
            shown.spread(values[:, count:], pixels_seen.shape[1]),
        )
        return (
            torch.where(points_seen[..., None], spread[0], self.unseen[0]),
            torch.where(pixels_seen[..., None], spread[1], self.unseen[1]),
        )

    def far_apart(
        self,
        centres: Float[Tensor, "batch visible 3"],
        patches: Tensor,
        rotation: Float[Tensor, "batch 3 3"],
    ) -> Bool[Tensor, "rows tokens tokens"]:
        """Which tokens may not listen to each other: a point's and a picture patch's that lie far apart."""
        encoder: Any = self.model.encoder
        places = from_camera(centres, rotation, self.view_size)[0] / self.view_size * 2 - 1
        columns, rows = patches % self.grid, patches // self.grid
        middles = (torch.stack([columns, rows], dim=-1).to(places) + 0.5) / self.grid * 2 - 1
        far = torch.cdist(places, middles) > self.radius
        count = centres.shape[1]
        barred = torch.zeros(len(far), sum(far.shape[1:]), sum(far.shape[1:]), dtype=torch.bool, device=far.device)
        barred[:, :count, count:], barred[:, count:, :count] = far, far.transpose(1, 2)
        return barred.repeat_interleave(encoder.heads, dim=0)

    def decode(
        self,
        of_points: Float[Tensor, "batch tokens width"],
        of_pixels: Float[Tensor, "batch patches width"],
        centres: Float[Tensor, "batch tokens 3"],
    ) -> tuple[Float[Tensor, "batch tokens width"], Float[Tensor, "batch patches width"]]:
        """What both together, then each alone, make of the tokens."""
        at_points = self.point_position(centres)
        at_pixels = self.picture_position.expand(len(of_pixels), -1, -1)
        values = self.shared(torch.cat([of_points, of_pixels], 1), torch.cat([at_points, at_pixels], 1))
        count = of_points.shape[1]
        return self.of_points(values[:, :count], at_points), self.of_pictures(values[:, count:], at_pixels)

    def cross(
        self, foreseen: Float[Tensor, "batch some 3"], points: Float[Tensor, "batch points 3"], picture: Picture
    ) -> Float[Tensor, ""]:
        """How near the foreseen points are, against what the picture shows where they fall."""
        pixels, depth = from_camera(foreseen, picture.rotation, self.view_size)
        truth = from_camera(points, picture.rotation, self.view_size)[1]
        near, far = truth.amin(1, keepdim=True), truth.amax(1, keepdim=True)
        expected = _nearness(1 + (depth - near) / (far - near).clamp_min(1e-9))
        places = (pixels / self.view_size * 2 - 1)[:, None]
        shown = F.grid_sample(picture.depth, places, padding_mode="border", align_corners=False)[:, 0, 0]
        return F.mse_loss(expected, shown)

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """One group: all of it learns alike."""
        return parameter_groups(self, rate)

    def set_progress(self, progress: float) -> None:
        """Nothing changes over the budget."""


def _nearness(depth: Tensor) -> Tensor:
    """Depths of a view, 1 nearest and 2 farthest, as shades: 1 nearest, 0.5 farthest; 0 stays nothing."""
    return torch.where(depth > 0, (3 - depth) / 2, 0.0)
