"""Fine-tuning with few labelled points: mean teacher, entropy and confident pseudo-labels (Yu, Sun and Sun, 2022).

    L = CE(labelled) + w mean (softmax s - softmax t)^2 + 0.5 H(softmax s) + CE(s, argmax t over the confident)

s is the student, t the moving average of its weights, a = min(1 - 1/(n + 1), 0.999) after n steps (Tarvainen and
Valpola, 2017, https://arxiv.org/abs/1703.01780); w = 10 exp(-5 (1 - r)^2) rises over the first part of the budget;
confident are the 20 % of points the teacher is surest of, of each class it predicts. The norms' running statistics
are averaged with the weights, which the published code leaves out.
"""

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dimlift.batch import IGNORE, PointBatch
from dimlift.errors import RunError
from dimlift.methods.supervised.param_groups import parameter_groups


class MeanTeacher(nn.Module):
    """A student that learns from few labels and from the average of its own past.

    Args:
        model: (B, N, 3) and features -> classes of every point (B, N, classes).
        consistency: weight of the distance to the teacher at the end of the rise.
        rise: share of the budget over which it gets there (30 of 500 epochs).
        entropy: weight of the answers' entropy.
        confident: share of each predicted class that is believed; 0 believes none.
        decay: most of the teacher that stays at each step.

    Attributes:
        teacher: saved with the method, so that a run can go on; in no optimiser, without gradient.
    """

    steps: Tensor

    def __init__(
        self,
        model: nn.Module,
        *,
        consistency: float = 10.0,
        rise: float = 0.06,
        entropy: float = 0.5,
        confident: float = 0.2,
        decay: float = 0.999,
    ) -> None:
        super().__init__()
        self.model, self.teacher = model, copy.deepcopy(model).requires_grad_(False).eval()
        self.consistency, self.rise, self.entropy = consistency, rise, entropy
        self.confident, self.decay, self.weight = confident, decay, 0.0
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def train(self, mode: bool = True) -> "MeanTeacher":
        """The teacher stays in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(
        self, points: Float[Tensor, "batch points 3"], features: Float[Tensor, "batch points channels"] | None = None
    ) -> Float[Tensor, "batch points classes"]:
        """The teacher's answers: the average of what was learnt."""
        return self.teacher(points, features)

    def loss(self, batch: PointBatch) -> Float[Tensor, ""]:
        """All four terms.

        Raises:
            RunError: if the batch carries no labels (`IGNORE` where nobody says).
        """
        if batch.label is None:
            raise RunError(f"{', '.join(batch.cases)} carry no labels; give IGNORE ({IGNORE}) where nobody says")
        answer = _asked(self.model, batch).float()
        with torch.no_grad():
            believed = _asked(self.teacher, batch).float().softmax(1)
        label = batch.label.flatten()
        shares = answer.softmax(1)
        loss = _entropy(answer) * self.entropy
        loss = loss + self.weight * F.mse_loss(shares, believed)
        for told, wanted in ((label != IGNORE, label), (most_confident(believed, self.confident), believed.argmax(1))):
            if told.any():
                loss = loss + F.cross_entropy(answer[told], wanted[told])
        return loss

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """The student alone."""
        return parameter_groups(self.model, rate)

    @torch.no_grad()
    def set_progress(self, progress: float) -> None:
        """Called before each step: the teacher moves towards the student, and the consistency weight rises."""
        kept = min(1 - 1 / (int(self.steps) + 1), self.decay)
        self.steps += 1
        ours = self.model.state_dict()
        for name, value in self.teacher.state_dict().items():
            new = ours[name]
            value.copy_(value * kept + new * (1 - kept) if value.is_floating_point() else new)
        share = min(progress / self.rise, 1.0) if self.rise > 0 else 1.0
        self.weight = self.consistency * math.exp(-5 * (1 - share) ** 2)


def most_confident(believed: Float[Tensor, "points classes"], share: float) -> Bool[Tensor, " points"]:
    """The `share` of the points of each predicted class whose probability is highest, rounded down."""
    surest, predicted = believed.max(1)
    chosen = torch.zeros(len(believed), dtype=torch.bool, device=believed.device)
    for each in predicted.unique():
        rows = (predicted == each).nonzero().squeeze(1)
        chosen[rows[surest[rows].topk(int(share * len(rows))).indices]] = True
    return chosen


def _entropy(logits: Tensor) -> Tensor:
    return -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()


def _asked(network: nn.Module, batch: PointBatch) -> Tensor:
    return network(batch.points, batch.features).flatten(0, 1)
