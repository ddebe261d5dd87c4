"""Masked autoencoders of points: most patches are hidden, and their points are to be foreseen.

- Pang et al., Point-MAE, 2022, https://arxiv.org/abs/2203.06604: one level, 60 % masked, 4 blocks
- Zhang et al., Point-M2AE, 2022, https://arxiv.org/abs/2205.14401: three levels, 80 % masked, 1 block a level

    L = mean over masked patches of CD-L2(foreseen points, points), both around the patch's centre
"""

import itertools
from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dimlift.batch import PointBatch
from dimlift.geometry.chamfer import chamfer
from dimlift.geometry.neighbours import interpolate
from dimlift.geometry.patches import Patches, seen_below
from dimlift.geometry.sampling import gather_points
from dimlift.methods.points.masking import at_random, in_sight
from dimlift.methods.supervised.param_groups import parameter_groups
from dimlift.models.point_m2ae_encoder import PointHierarchy
from dimlift.models.transformer_blocks import Blocks
from dimlift.tokenizers.points import position_network


class PointDecoder(nn.Module):
    """Tokens of every level, zero where masked -> tokens of one level, the masked ones foreseen.

    Args:
        encoder: whose tokens are read.
        blocks: of each level.

    Attributes:
        level: the one that is answered: the second finest, or the only one.
        width: of the answers.
    """

    def __init__(self, encoder: PointHierarchy, blocks: int) -> None:
        super().__init__()
        self.level = min(1, len(encoder.widths) - 1)
        widths = encoder.widths[self.level :]
        self.width = widths[0]
        self.unseen = nn.ParameterList([nn.Parameter(torch.empty(1, 1, w)) for w in widths])
        for parameter in self.unseen:
            nn.init.trunc_normal_(parameter, std=0.02)
        self.positions = nn.ModuleList(map(position_network, widths))
        self.stages = nn.ModuleList(Blocks(w, blocks, encoder.heads) for w in widths)
        self.down = nn.ModuleList(
            nn.Sequential(nn.Linear(fine + coarse, fine), nn.GELU(), nn.Linear(fine, fine))
            for fine, coarse in itertools.pairwise(widths)
        )

    def forward(
        self,
        tokens: Sequence[Float[Tensor, "batch _ _"]],
        levels: Sequence[Patches],
        visible: Sequence[Bool[Tensor, "batch _"]],
    ) -> Float[Tensor, "batch patches width"]:
        """Tokens of every patch of `level`; `tokens`, `levels` and `visible` are the encoder's, finest first."""
        answer: Tensor | None = None
        for number in reversed(range(len(self.stages))):
            at = number + self.level
            values = torch.where(visible[at][..., None], tokens[at], self.unseen[number])
            if answer is not None:
                carried = interpolate(levels[at].centres, levels[at + 1].centres, answer)
                values = self.down[number](torch.cat([values, carried], dim=-1))
            answer = self.stages[number](values, self.positions[number](levels[at].centres))
        return values if answer is None else answer


class PointMAE(nn.Module):
    """Teach an encoder of points by what it cannot see.

    Args:
        student: its `encoder` is the one that learns.
        masked: share of the coarsest patches that is hidden.
        blocks: of the decoder, at each level.
    """

    def __init__(self, student: nn.Module, *, masked: float = 0.6, blocks: int = 4) -> None:
        super().__init__()
        encoder: Any = student.encoder
        self.model, self.masked = student, masked
        self.decoder = PointDecoder(encoder, blocks)
        self.points = nn.Linear(self.decoder.width, 3 * encoder.neighbours[self.decoder.level])
        self.sights: deque[Tensor] = deque(maxlen=100)

    def loss(self, batch: PointBatch) -> Float[Tensor, ""]:
        """Distance of what is foreseen."""
        encoder: Any = self.model.encoder
        levels = encoder.cut(batch.points)
        visible = seen_below(levels, at_random(levels[-1].centres, self.masked))
        self.note(batch.points, levels, visible)
        return self.distance(self.foreseen(batch.points, levels, visible), batch.points, levels, ~visible[self.level])

    def note(self, points: Tensor, levels: Sequence[Patches], visible: Sequence[Tensor]) -> None:
        """Keep in mind how much of what is to be foreseen stands in sight."""
        self.sights.append(in_sight(points.shape[1], levels, self.level, visible))

    def report(self) -> dict[str, Any]:
        """For the record: the share of the hidden that stood in sight, over the last batches."""
        return {"hidden_in_sight": float(torch.stack(list(self.sights)).mean())} if self.sights else {}

    @property
    def level(self) -> int:
        """Whose patches are foreseen."""
        return self.decoder.level

    def foreseen(
        self, points: Tensor, levels: Sequence[Patches], visible: Sequence[Tensor]
    ) -> Float[Tensor, "batch patches width"]:
        """The decoder's tokens, of visible and masked patches."""
        encoder: Any = self.model.encoder
        return self.decoder(encoder.encode(points, levels, visible[-1]), levels, visible)

    def distance(
        self, tokens: Tensor, points: Tensor, levels: Sequence[Patches], which: Bool[Tensor, "batch patches"]
    ) -> Float[Tensor, ""]:
        """Mean CD-L2 of the chosen patches; 0 if none is."""
        answers = self.points(tokens[which]).unflatten(-1, (-1, 3)).float()
        truth = patch_points(points, levels, self.level)[which]
        return chamfer(answers, truth).mean() if len(truth) else answers.sum()

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """One group: encoder and decoder learn alike."""
        return parameter_groups(self, rate)

    def set_progress(self, progress: float) -> None:
        """Nothing changes over the budget."""


def patch_points(
    points: Float[Tensor, "batch points 3"], levels: Sequence[Patches], level: int
) -> Float[Tensor, "batch patches neighbours 3"]:
    """Members of each patch of a level, around its centre."""
    below = levels[level - 1].centres if level else points
    return gather_points(below, levels[level].members) - levels[level].centres[:, :, None]
