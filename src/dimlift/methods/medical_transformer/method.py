"""Pretraining of Medical Transformer: predict the vectors of masked slices of unlabelled volumes.

    L = mean over masked slices i of | f(context)_i - norm(sg(e_i)) |^2

with e_i the 2D network's vector of slice i, sg stop-gradient, norm zero mean and unit variance over its channels
(without it, trained vectors grow without bound together with their targets), and the context the other slices of the
plane. The equation is reconstructed from the abstract; the choice of masked slices, the width of f, the norm and the
target are not published.

- Jun et al., *Medical Transformer: Universal Brain Encoder for 3D MRI Analysis*, 2021, https://arxiv.org/abs/2104.13633
"""

from typing import Literal, Self, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dimlift.batch import VolumeBatch
from dimlift.errors import ConfigError
from dimlift.methods.method import Method, ParamGroup
from dimlift.models.medical_transformer import PlaneTransformer


class MaskedSlicePrediction(Method[VolumeBatch]):
    """Masked slice modelling with the encoder of a Medical Transformer.

    The 2D network's norms stay in eval mode, so that the vector of a slice is independent of all other slices of the
    batch and a masked slice leaks nothing.

    Args:
        model: a model whose `encoder` is a `PlaneTransformer`; its head is not trained.
        mask_ratio: fraction of the slices of each plane that is masked, at least one slice.
        target: "own" trains the 2D network, its vectors of the same step without gradient being the target; "frozen"
            freezes it, which rules out collapse to equal vectors.

    Raises:
        ConfigError: if the model has no such encoder.
    """

    def __init__(self, model: nn.Module, *, mask_ratio: float = 0.15, target: Literal["own", "frozen"] = "own") -> None:
        super().__init__()
        encoder = getattr(model, "encoder", None)
        if not isinstance(encoder, PlaneTransformer):
            raise ConfigError("medical_transformer pretrains the arm medical_transformer; set arm.method to it")
        self.model, self.mask_ratio = model, mask_ratio
        self.predictor = nn.Linear(encoder.width, encoder.width)
        if target == "frozen":
            for part in (encoder.slices, encoder.project):
                part.requires_grad_(False)

    def forward(self, image: Float[Tensor, "batch _ _ _ _"]) -> Tensor:
        """Return the output of the model."""
        return self.model(image)

    def loss(self, batch: VolumeBatch) -> Float[Tensor, ""]:
        """Return the distance to the vectors of masked slices, averaged over planes."""
        vectors = self.encoder.vectors(batch.image)
        masks = [sample_masked_slices(len(v), v.shape[1], self.mask_ratio, v.device) for v in vectors]
        _, outputs = self.encoder.context(vectors, masks)
        distances = [
            F.mse_loss(
                self.predictor(output[mask]).float(), F.layer_norm(vector.detach()[mask].float(), (vector.shape[2],))
            )
            for output, vector, mask in zip(outputs, vectors, masks, strict=True)
        ]
        return torch.stack(distances).mean()

    def param_groups(self, lr: float) -> list[ParamGroup]:
        """Return the groups of encoder and predictor; the model's own head is trained later, from labels."""
        groups = (("encoder", self.encoder), ("prediction", self.predictor))
        return [{"params": list(part.parameters()), "lr": lr, "name": name} for name, part in groups]

    @property
    def encoder(self) -> PlaneTransformer:
        """The encoder that is pretrained."""
        return cast(PlaneTransformer, self.model.encoder)

    def train(self, mode: bool = True) -> Self:
        """Set training mode everywhere except in the 2D network, whose norms stay in eval mode."""
        super().train(mode)
        self.encoder.slices.eval()
        return self


def sample_masked_slices(
    batch: int, slices: int, mask_ratio: float, device: torch.device
) -> Bool[Tensor, "batch slices"]:
    """Sample masked slices: equally many in each volume, at least one masked and one visible."""
    count = min(max(1, round(mask_ratio * slices)), max(1, slices - 1))
    order = torch.rand(batch, slices, device=device).argsort(1)
    return order < count
