"""Medical Transformer's pretraining: foresee the vectors of slices that are hidden, on volumes without labels.

    L = mean over hidden slices i of | f(context)_i - norm(sg(e_i)) |^2

with e_i the 2D network's vector of slice i, sg no gradient, norm mean 0 and variance 1 over its numbers (without it
vectors that learn grow without bound, their own target behind them), and the context the other slices of the plane.
Only the abstract is known to us in its own words; the equation is written from memory of the method, and which slices
are hidden, the width of f, the norm and the choice of target are ours.

- Jun et al., *Medical Transformer: Universal Brain Encoder for 3D MRI Analysis*, 2021, https://arxiv.org/abs/2104.13633
"""

from typing import Any, Literal, Self, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dimlift.batch import VolumeBatch
from dimlift.errors import ConfigError
from dimlift.models.medical_transformer import PlaneTransformer


class MaskedSlices(nn.Module):
    """Train the encoder of `student` to foresee hidden slices.

    The 2D network's norms stay in eval mode, so that the vector of a slice depends on no other slice of the batch: a
    hidden slice is hidden altogether.

    Args:
        student: a model whose `encoder` is a `PlaneTransformer`; what is built on it is left alone.
        ratio: share of the slices of each plane that are hidden, one at least.
        target: "own" lets the 2D network learn, its vectors without gradient being the target of this very step;
            "frozen" keeps it as it is, so that no collapse to equal vectors is possible.

    Raises:
        ConfigError: if the student has no such encoder.
    """

    def __init__(self, student: nn.Module, *, ratio: float = 0.15, target: Literal["own", "frozen"] = "own") -> None:
        super().__init__()
        encoder = getattr(student, "encoder", None)
        if not isinstance(encoder, PlaneTransformer):
            raise ConfigError("medical_transformer pretrains the arm medical_transformer; set student.method to it")
        self.model, self.ratio = student, ratio
        self.predict = nn.Linear(encoder.width, encoder.width)
        if target == "frozen":
            for part in (encoder.slices, encoder.project):
                part.requires_grad_(False)

    def forward(self, image: Float[Tensor, "batch _ _ _ _"]) -> Tensor:
        """What the student answers."""
        return self.model(image)

    def loss(self, batch: VolumeBatch) -> Float[Tensor, ""]:
        """Distance to the vectors of hidden slices, the mean over planes."""
        vectors = self.encoder.vectors(batch.image)
        masks = [hidden_slices(len(v), v.shape[1], self.ratio, v.device) for v in vectors]
        _, answers = self.encoder.context(vectors, masks)
        distances = [
            F.mse_loss(
                self.predict(answer[mask]).float(), F.layer_norm(vector.detach()[mask].float(), (vector.shape[2],))
            )
            for answer, vector, mask in zip(answers, vectors, masks, strict=True)
        ]
        return torch.stack(distances).mean()

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """The encoder and the prediction; the student's own head waits for labels."""
        groups = (("encoder", self.encoder), ("prediction", self.predict))
        return [{"params": list(part.parameters()), "lr": rate, "name": name} for name, part in groups]

    @property
    def encoder(self) -> PlaneTransformer:
        """The three sequences, which the student's answers rest on."""
        return cast(PlaneTransformer, self.model.encoder)

    def set_progress(self, progress: float) -> None:
        """Nothing changes over the budget."""

    def train(self, mode: bool = True) -> Self:
        """Training mode for everything but the 2D network's norms."""
        super().train(mode)
        self.encoder.slices.eval()
        return self


def hidden_slices(batch: int, slices: int, ratio: float, device: torch.device) -> Bool[Tensor, "batch slices"]:
    """Which slices are hidden, drawn by torch's generator: as many in each volume, one at least and one never."""
    count = min(max(1, round(ratio * slices)), max(1, slices - 1))
    order = torch.rand(batch, slices, device=device).argsort(1)
    return order < count
