"""Encoder of Medical Transformer: a volume as sequences of slices across each axis; a 2D network and a transformer.

Reconstructed from the abstract; the authors' code is not available. Widths, depths, position embeddings, and how slice
vectors are combined with the feature maps of a decoder are choices of this implementation.

- Jun et al., *Medical Transformer: Universal Brain Encoder for 3D MRI Analysis*, 2021, https://arxiv.org/abs/2104.13633
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dimlift.models.encoder_protocol import FeatureMapEncoder, map_starts, require_maps, validate_volume

Plane = Literal["depth", "height", "width"]
AXES: dict[Plane, int] = {"depth": 2, "height": 3, "width": 4}


class PlaneTransformer(nn.Module):
    """Encoder (B, C, D, H, W) -> maps, finest first; the coarsest contains context of all planes.

    Args:
        slices: returns maps of a volume, each slice on its own (a network lifted with `DepthPlan(kernel=1)`); shared by
            all planes.
        width: channels of a slice's vector in the transformer.
        layers: layers of the transformer, which all planes share.
        heads: attention heads.
        planes: axes across which slices are cut; must include "depth", the plane of the maps.
        num_positions: number of learnt position embeddings; they are interpolated to the length of a sequence.
        dropout: in the transformer.
    """

    def __init__(
        self,
        slices: nn.Module,
        *,
        width: int = 512,
        layers: int = 4,
        heads: int = 8,
        planes: Sequence[Plane] = ("depth", "height", "width"),
        num_positions: int = 64,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        require_maps(slices)
        maps = cast(FeatureMapEncoder, slices)
        self.slices, self.planes, self.width = slices, tuple(planes), width
        self.in_channels, self.channels, self.strides = maps.in_channels, maps.channels, maps.strides
        self.starts = map_starts(slices)
        self.project = nn.Linear(maps.channels[-1], width)
        self.embeddings = nn.ParameterDict(
            {
                "summary": torch.empty(1, 1, width),
                "position": torch.empty(1, width, num_positions),
                "plane": torch.empty(len(self.planes), 1, width),
                "mask": torch.empty(width),
            }
        )
        for parameter in self.embeddings.values():
            nn.init.trunc_normal_(parameter, std=0.02)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.to_maps = nn.ModuleList(nn.Linear(width, maps.channels[-1]) for _ in self.planes)
        for linear in self.to_maps:
            nn.init.zeros_(cast(nn.Linear, linear).weight)  # maps are initially the 2D network's
            nn.init.zeros_(cast(nn.Linear, linear).bias)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Switch activation checkpointing of the 2D network."""
        cast(Any, self.slices).set_grad_checkpointing(enable)

    def vectors(self, volume: Float[Tensor, "batch channels depth height width"]) -> list[Float[Tensor, "batch _ _"]]:
        """Return one vector per slice for each plane, (B, slices, width); each depends on its slice alone."""
        return [self._slice_vectors(self._maps(volume, plane)) for plane in self.planes]

    def context(
        self, vectors: Sequence[Float[Tensor, "batch _ _"]], masks: Sequence[Bool[Tensor, "batch _"]] | None = None
    ) -> tuple[list[Float[Tensor, "batch _"]], list[Float[Tensor, "batch _ _"]]]:
        """Apply the transformer to each sequence.

        Args:
            vectors: of each plane.
            masks: slices of each plane whose vectors are replaced by the mask embedding.

        Returns:
            The summary of each sequence (B, width), and the output at each of its slices (B, slices, width).
        """
        summaries, outputs = [], []
        for number, sequence in enumerate(vectors):
            tokens = sequence
            if masks is not None:
                tokens = torch.where(masks[number][:, :, None], self.embeddings["mask"].to(sequence), sequence)
            positions = F.interpolate(self.embeddings["position"], tokens.shape[1], mode="linear").transpose(1, 2)
            summary = self.embeddings["summary"].expand(len(tokens), -1, -1)
            tokens = torch.cat([summary, tokens + positions], dim=1) + self.embeddings["plane"][number]
            output = self.transformer(tokens)
            summaries.append(output[:, 0])
            outputs.append(output[:, 1:])
        return summaries, outputs

    def forward(self, volume: Float[Tensor, "batch channels depth height width"]) -> list[Tensor]:
        """Return the 2D network's maps of the slices across depth, with the context of all planes in the coarsest."""
        validate_volume(self, volume)
        maps = {plane: self._maps(volume, plane) for plane in self.planes}
        vectors = [self._slice_vectors(maps[plane]) for plane in self.planes]
        *finer, coarsest = maps["depth"]
        for plane, linear, output in zip(self.planes, self.to_maps, self.context(vectors)[1], strict=True):
            axis = AXES[plane]
            line = average_to_cells(linear(output).transpose(1, 2), coarsest.shape[axis], self.strides[-1][axis - 2])
            shape = [*line.shape[:2], 1, 1, 1]
            shape[axis] = line.shape[2]
            coarsest = coarsest + line.view(shape)
        return [*finer, coarsest]

    def _maps(self, volume: Tensor, plane: Plane) -> Sequence[Tensor]:
        """Return the maps of the slices across an axis; this axis takes the position of depth."""
        return self.slices(volume.transpose(2, AXES[plane]).contiguous())

    def _slice_vectors(self, maps: Sequence[Tensor]) -> Tensor:
        return self.project(maps[-1].mean((3, 4)).transpose(1, 2))


def average_to_cells(
    line: Float[Tensor, "batch width slices"], cells: int, stride: float
) -> Float[Tensor, "batch width cells"]:
    """Average the slices that each cell of a map covers; the last cell may cover fewer than `stride`."""
    if cells * stride != line.shape[2] and math.ceil(line.shape[2] / stride) == cells and stride == int(stride):
        return F.avg_pool1d(line, int(stride), ceil_mode=True)
    return F.adaptive_avg_pool1d(line, cells)


class PlaneClassifier(nn.Module):
    """Classifier (B, C, D, H, W) -> (B, num_classes): a linear layer on the summaries of all planes.

    Args:
        encoder: encoder of the sequences.
        num_classes: number of outputs; 1 for regression.
        dropout: dropout of the summaries.
    """

    def __init__(self, encoder: PlaneTransformer, num_classes: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(len(encoder.planes) * encoder.width, num_classes))

    def forward(self, volume: Float[Tensor, "batch channels depth height width"]) -> Float[Tensor, "batch classes"]:
        """Return the logits, or targets of a regression, of every volume."""
        validate_volume(self.encoder, volume)
        return self.head(torch.cat(self.encoder.context(self.encoder.vectors(volume))[0], dim=1))
