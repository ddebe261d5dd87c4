"""Fine-tuning with few labelled points: mean teacher, entropy and confident pseudo-labels (Yu, Sun and Sun, 2022).

    L = CE(labelled) + w mean (softmax s - softmax t)^2 + 0.5 H(softmax s) + CE(s, argmax t over the confident)

s is the student, t the moving average of its weights, a = min(1 - 1/(n + 1), 0.999) after n steps (Tarvainen and
Valpola, 2017, https://arxiv.org/abs/1703.01780). w = 10 exp(-5 (1 - r)^2) ramps up over the first part of the budget.
The confident points are the 20 % of each predicted class with the highest teacher probability. The running statistics
of the norms are averaged like the weights, which the published code leaves out.
"""

import copy
import math
from typing import Self

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dimlift.batch import IGNORE, PointBatch
from dimlift.errors import RunError
from dimlift.methods.method import Method, ParamGroup
from dimlift.methods.supervised.encoder_layers import param_groups_layer_decay


class MeanTeacher(Method[PointBatch]):
    """Student trained from few labels and from the moving average of its own weights.

    Args:
        model: (B, N, 3) and features -> logits of every point (B, N, classes).
        consistency_weight: weight of the distance to the teacher after ramp-up.
        rampup_fraction: fraction of the budget of the ramp-up (30 of 500 epochs).
        entropy_weight: weight of the entropy of the predictions.
        pseudo_label_fraction: fraction of the points of each predicted class that get pseudo-labels; 0 uses none.
        decay: upper limit of the decay of the moving average.

    Attributes:
        teacher: saved with the method, so that a run can be resumed; excluded from the optimizer.
        weight: current consistency weight.
    """

    steps: Tensor

    def __init__(
        self,
        model: nn.Module,
        *,
        consistency_weight: float = 10.0,
        rampup_fraction: float = 0.06,
        entropy_weight: float = 0.5,
        pseudo_label_fraction: float = 0.2,
        decay: float = 0.999,
    ) -> None:
        super().__init__()
        self.model, self.teacher = model, copy.deepcopy(model).requires_grad_(False).eval()
        self.consistency_weight, self.rampup_fraction = consistency_weight, rampup_fraction
        self.entropy_weight, self.pseudo_label_fraction = entropy_weight, pseudo_label_fraction
        self.decay, self.weight = decay, 0.0
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the student; the teacher stays in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(
        self, points: Float[Tensor, "batch points 3"], features: Float[Tensor, "batch points channels"] | None = None
    ) -> Float[Tensor, "batch points classes"]:
        """Return the teacher's logits."""
        return self.teacher(points, features)

    def loss(self, batch: PointBatch) -> Float[Tensor, ""]:
        """Return the sum of all four terms.

        Raises:
            RunError: if the batch has no labels (`IGNORE` for points without annotation).
        """
        if batch.label is None:
            raise RunError(f"{', '.join(batch.cases)} have no labels; set unannotated points to IGNORE ({IGNORE})")
        logits = _forward(self.model, batch).float()
        with torch.no_grad():
            teacher_probs = _forward(self.teacher, batch).float().softmax(1)
        label = batch.label.flatten()
        probs = logits.softmax(1)
        loss = _entropy(logits) * self.entropy_weight
        loss = loss + self.weight * F.mse_loss(probs, teacher_probs)
        confident = most_confident(teacher_probs, self.pseudo_label_fraction)
        for rows, target in ((label != IGNORE, label), (confident, teacher_probs.argmax(1))):
            if rows.any():
                loss = loss + F.cross_entropy(logits[rows], target[rows])
        return loss

    def param_groups(self, lr: float) -> list[ParamGroup]:
        """Return the parameter groups of the student."""
        return param_groups_layer_decay(self.model, lr)

    @torch.no_grad()
    def on_progress(self, progress: float) -> None:
        """Update the teacher and the consistency weight."""
        decay = min(1 - 1 / (int(self.steps) + 1), self.decay)
        self.steps += 1
        student = self.model.state_dict()
        for name, value in self.teacher.state_dict().items():
            new = student[name]
            value.copy_(value * decay + new * (1 - decay) if value.is_floating_point() else new)
        ramp = min(progress / self.rampup_fraction, 1.0) if self.rampup_fraction > 0 else 1.0
        self.weight = self.consistency_weight * math.exp(-5 * (1 - ramp) ** 2)


def most_confident(probs: Float[Tensor, "points classes"], fraction: float) -> Bool[Tensor, " points"]:
    """Select the given fraction, rounded down, of the points of each predicted class with the highest probability."""
    confidence, predicted = probs.max(1)
    selected = torch.zeros(len(probs), dtype=torch.bool, device=probs.device)
    for each in predicted.unique():
        rows = (predicted == each).nonzero().squeeze(1)
        selected[rows[confidence[rows].topk(int(fraction * len(rows))).indices]] = True
    return selected


def _entropy(logits: Tensor) -> Tensor:
    return -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()


def _forward(network: nn.Module, batch: PointBatch) -> Tensor:
    return network(batch.points, batch.features).flatten(0, 1)
