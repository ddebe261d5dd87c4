"""I2P-MAE: a 2D network says what of a cloud matters and what it looks like, from three depth pictures.

Zhang et al., 2022, https://arxiv.org/abs/2212.06785

    L = CD-L2 of the masked patches + w * MSE(foreseen 2D features of the visible patches, the teacher's)

Both at the second finest level. What deviates from the authors' code: the teacher is any vision transformer,
outside optimiser and checkpoint; its maps are read at the points instead of being enlarged to the picture's size (the
same up to rounding, and 0.27 GB instead of 6.6); pictures show nearer points brighter, the nearest of a pixel wins.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.batch import PointBatch
from dimlift.errors import ShapeError
from dimlift.geometry.patches import Patches, origin, seen_below
from dimlift.geometry.sampling import gather_points
from dimlift.geometry.views import AXES, View, axis_view, read_at
from dimlift.methods.points.masking import draw_visible, standardised
from dimlift.methods.points.point_mae import PointMAE
from dimlift.methods.teachers.attention_saliency import look, require_attention
from dimlift.methods.teachers.teacher import Teacher


class Seen(NamedTuple):
    """What the teacher knows of each point; of the three views beside each other, and their mean.

    Attributes:
        features: un-normalised, as the teacher gives them.
        saliency: see `saliency.Look`.
    """

    features: Float[Tensor, "batch points channels"]
    saliency: Float[Tensor, "batch points"]


class I2PMAE(PointMAE):
    """Point masked autoencoder that a 2D network guides.

    Args:
        student: its `encoder` has at least two levels.
        teacher: a vision transformer with a class token.
        masked: share of the coarsest patches that is hidden.
        blocks: of the decoder, at each level.
        saliency_temperature: of the draw of visible patches. The published 1 is nearly random, as shares of attention
            are all small: of 64 patches, the most salient quarter is seen hardly more often than the least.
        standardise: saliencies of a cloud have deviation one before the temperature; not in the authors' code.
        weight: of the 2D loss.
        view_size: height and width of the pictures, in pixels.

    Raises:
        ShapeError: if the encoder has one level.
        CannotLift: if the teacher's attention cannot be read.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: Teacher,
        *,
        masked: float = 0.8,
        blocks: int = 1,
        saliency_temperature: float = 1.0,
        standardise: bool = False,
        weight: float = 1.0,
        view_size: int = 224,
    ) -> None:
        super().__init__(student, masked=masked, blocks=blocks)
        encoder: Any = student.encoder
        if self.level == 0:
            raise ShapeError(
                "I2P-MAE foresees features at the second finest level; give the student two levels or more "
                "(point_hierarchy)"
            )
        channels = require_attention(teacher, view_size)
        self.teacher, self.weight, self.view_size = teacher, weight, view_size
        self.saliency_temperature, self.standardise = saliency_temperature, standardise
        self.features = nn.Linear(self.decoder.width, encoder.neighbours[self.level] * len(AXES) * channels)

    def loss(self, batch: PointBatch) -> Float[Tensor, ""]:
        """Both distances."""
        encoder: Any = self.model.encoder
        levels = encoder.cut(batch.points)
        seen = self.look(batch.points, levels[0].chosen)
        visible = self.draw(seen.saliency, levels)
        self.note(batch.points, levels, visible)
        tokens = self.foreseen(batch.points, levels, visible)
        shown = visible[self.level]
        truth = gather_points(seen.features, levels[self.level].members).flatten(2)[shown]
        features = F.mse_loss(self.features(tokens[shown]).float(), truth)
        return self.distance(tokens, batch.points, levels, ~shown) + self.weight * features

    def draw(self, saliency: Float[Tensor, "batch finest"], levels: Sequence[Patches]) -> list[Tensor]:
        """Visible patches of every level: what is salient is likelier to be seen."""
        index = origin(levels[1:], len(levels) - 2)  # the coarsest centres among the finest
        scores = saliency.gather(1, index)
        scores = standardised(scores) if self.standardise else scores
        return seen_below(levels, draw_visible(scores, self.masked, self.saliency_temperature))

    @torch.no_grad()
    def look(self, points: Float[Tensor, "batch points 3"], index: Tensor) -> Seen:
        """What the teacher knows of chosen points.

        Args:
            index: which of the points, (batch, chosen).
        """
        self.teacher.frozen.to(points.device)
        features, saliency = [], []
        for number in range(len(AXES)):
            view = axis_view(points, number, self.view_size)
            found = look(self.teacher, picture(view))
            places = gather_points(view.places, index)
            features.append(read_at(found.maps, places, "bicubic"))
            saliency.append(read_at(found.saliency, places, "bicubic")[..., 0])
        return Seen(torch.cat(features, dim=-1), torch.stack(saliency).mean(0))


def picture(view: View) -> Float[Tensor, "batch 3 height width"]:
    """A depth view as a grey picture: the nearest point is 1, the farthest 0.5, nothing 0."""
    grey = torch.where(view.depth > 0, (3 - view.depth) / 2, 0.0)
    return grey[:, None].expand(-1, 3, -1, -1)
