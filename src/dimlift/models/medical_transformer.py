"""A volume as three sequences of slices, one across each axis: a 2D network sees slices, a transformer sequences.

The equations are written from memory of the paper's account, without its code, which was never found: what is not in
its abstract (widths, depths, how positions enter, how slice vectors reach a decoder) is ours.

- Jun et al., *Medical Transformer: Universal Brain Encoder for 3D MRI Analysis*, 2021, https://arxiv.org/abs/2104.13633
"""

from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dimlift.models.encoder_protocol import MapEncoder, check_volume, require_maps

Plane = Literal["depth", "height", "width"]
AXES: dict[Plane, int] = {"depth": 2, "height": 3, "width": 4}


class PlaneTransformer(nn.Module):
    """An encoder: (B, C, D, H, W) -> maps, finest first, whose coarsest knows all three sequences.

    Args:
        slices: gives maps of a volume, each slice by itself (a network lifted with `DepthPlan(kernel=1)`); shared by
            all planes.
        width: of a slice's vector in the transformer.
        layers: of the transformer, which all planes share.
        heads: of its attention.
        planes: axes across which slices are cut; "depth" is where maps come from and must be among them.
        places: slices that positions are learnt for; longer and shorter sequences read between them.
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
        places: int = 64,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        require_maps(slices)
        maps = cast(MapEncoder, slices)
        self.slices, self.planes, self.width = slices, tuple(planes), width
        self.in_channels, self.channels, self.strides = maps.in_channels, maps.channels, maps.strides
        self.project = nn.Linear(maps.channels[-1], width)
        self.learnt = nn.ParameterDict(
            {
                "summary": torch.empty(1, 1, width),
                "position": torch.empty(1, width, places),
                "plane": torch.empty(len(self.planes), 1, width),
                "hidden": torch.empty(width),
            }
        )
        for parameter in self.learnt.values():
            nn.init.trunc_normal_(parameter, std=0.02)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.hand_over = nn.ModuleList(nn.Linear(width, maps.channels[-1]) for _ in self.planes)
        for linear in self.hand_over:
            nn.init.zeros_(cast(nn.Linear, linear).weight)  # maps start as the 2D network's
            nn.init.zeros_(cast(nn.Linear, linear).bias)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """The 2D network's own switch."""
        cast(Any, self.slices).set_grad_checkpointing(enable)

    def vectors(self, volume: Float[Tensor, "batch channels depth height width"]) -> list[Float[Tensor, "batch _ _"]]:
        """One vector a slice, for each plane: (B, slices, width); no slice sees another."""
        return [self.project(self._cut(volume, plane)[-1].mean((3, 4)).transpose(1, 2)) for plane in self.planes]

    def context(
        self, vectors: Sequence[Float[Tensor, "batch _ _"]], masks: Sequence[Bool[Tensor, "batch _"]] | None = None
    ) -> tuple[list[Float[Tensor, "batch _"]], list[Float[Tensor, "batch _ _"]]]:
        """What the transformer makes of each sequence.

        Args:
            vectors: of each plane.
            masks: slices whose vectors it must not see: a learnt one takes their place.

        Returns:
            the summary of each sequence (B, width), and the answer at each of its slices (B, slices, width).
        """
        summaries, answers = [], []
        for number, sequence in enumerate(vectors):
            seen = sequence
            if masks is not None:
                seen = torch.where(masks[number][:, :, None], self.learnt["hidden"].to(sequence), sequence)
            places = F.interpolate(self.learnt["position"], seen.shape[1], mode="linear").transpose(1, 2)
            summary = self.learnt["summary"].expand(len(seen), -1, -1)
            tokens = torch.cat([summary, seen + places], dim=1) + self.learnt["plane"][number]
            found = self.transformer(tokens)
            summaries.append(found[:, 0])
            answers.append(found[:, 1:])
        return summaries, answers

    def forward(self, volume: Float[Tensor, "batch channels depth height width"]) -> list[Tensor]:
        """The 2D network's maps of the slices across depth; the coarsest with what is known of its three planes."""
        check_volume(self, volume)
        maps = {plane: self._cut(volume, plane) for plane in self.planes}
        vectors = [self.project(maps[plane][-1].mean((3, 4)).transpose(1, 2)) for plane in self.planes]
        *finer, coarsest = maps["depth"]
        for plane, linear, answer in zip(self.planes, self.hand_over, self.context(vectors)[1], strict=True):
            axis = AXES[plane]
            line = F.adaptive_avg_pool1d(linear(answer).transpose(1, 2), coarsest.shape[axis])
            shape = [*line.shape[:2], 1, 1, 1]
            shape[axis] = line.shape[2]
            coarsest = coarsest + line.view(shape)
        return [*finer, coarsest]

    def _cut(self, volume: Tensor, plane: Plane) -> Sequence[Tensor]:
        """Maps of the slices across an axis, that axis in the place of depth."""
        return self.slices(volume.transpose(2, AXES[plane]).contiguous())


class PlaneClassifier(nn.Module):
    """(B, C, D, H, W) -> (B, classes): the summaries of all planes beside each other, through one linear layer.

    Args:
        encoder: the three sequences.
        classes: length of the answer; 1 for regression.
        dropout: share of the summaries dropped in training.
    """

    def __init__(self, encoder: PlaneTransformer, classes: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(len(encoder.planes) * encoder.width, classes))

    def forward(self, volume: Float[Tensor, "batch channels depth height width"]) -> Float[Tensor, "batch classes"]:
        """Logits (or numbers) of every volume."""
        check_volume(self.encoder, volume)
        return self.head(torch.cat(self.encoder.context(self.encoder.vectors(volume))[0], dim=1))
