"""Every slice of a volume through a frozen 2D network, kept as coarse maps over the whole volume.

A map covers the volume from its first to its last voxel, pixel centres at +0.5: what `grid_sample` reads at the
volume's normalised coordinates (`align_corners=False`) lies at that place, for every plane.
"""

import math
from collections.abc import Sequence
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float16
from torch import Tensor

from dimlift.errors import RunError, ShapeError
from dimlift.methods.frozen_features.backbone import SliceNetwork, open_slice_network
from dimlift.methods.frozen_features.feature_augmentation import PLAIN, Look
from dimlift.methods.frozen_features.projection import fixed_projection
from dimlift.methods.frozen_features.receptive_field import MapFacts, cover, measure
from dimlift.methods.frozen_features.settings import PLANES, BorrowSettings

Spacing = tuple[float, float, float]
PIXELS_AT_ONCE = 16 * 224 * 224


class Extractor:
    """Takes features from volumes. Holds a frozen network and nothing that learns.

    Args:
        settings: what is taken.
        network: in place of the one the settings name (`wrap_network`).
    """

    def __init__(self, settings: BorrowSettings, network: SliceNetwork | None = None) -> None:
        self.settings = settings
        self.network = network or open_slice_network(settings)
        self.device = torch.device("cpu")

    def to(self, device: torch.device | str) -> "Extractor":
        """Move the network; extraction happens there, its answers come back to the processor."""
        self.device = torch.device(device)
        self.network.frozen.to(device)
        return self

    @cached_property
    def facts(self) -> list[MapFacts]:
        """Strides, channels and measured shifts of the chosen maps; takes some tenths of a second once."""
        return measure(self.network, self.settings.stages, self.device)

    @cached_property
    def digest(self) -> str:
        """Of the network's weights."""
        return self.network.frozen.digest()

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each map of a volume: planes in the order of the settings, in each the stages."""
        kept = [min(fact.channels, self.settings.cache_channels) for fact in self.facts]
        return tuple(kept * len(self.settings.planes))

    def grids(self, size: Sequence[int], spacing: Spacing = (1.0, 1.0, 1.0)) -> list[tuple[int, ...]]:
        """(depth, height, width) of each map of a volume of `size` voxels."""
        found = []
        for plane in self.settings.planes:
            axis = PLANES.index(plane)
            picture = self.picture_size(size, spacing, axis)
            for fact in self.facts:
                inside = [-(-side // fact.stride) for side in picture]
                found.append((*inside[:axis], size[axis], *inside[axis:]))
        return found

    def __call__(
        self,
        image: Float[Tensor, "channels depth height width"],
        spacing: Spacing = (1.0, 1.0, 1.0),
        look: Look = PLAIN,
    ) -> list[Float16[Tensor, "kept d h w"]]:
        """Maps of a volume, on the processor; one for each plane and stage.

        Args:
            image: a whole preprocessed volume.
            spacing: (z, y, x) millimetres between voxels, so that slices can be made isotropic.
            look: under which the network is shown the volume.

        Raises:
            ShapeError: if the volume's channels cannot be shown to a 2D network.
            RunError: if a map holds values half precision cannot keep.
        """
        shown = look(self._show(image.to(self.device, torch.float32)))
        maps: list[Tensor] = []
        for plane in self.settings.planes:
            maps.extend(self._plane(shown, PLANES.index(plane), spacing, look.enlarge))
        for each in maps:
            if not torch.isfinite(each).all():
                raise RunError(
                    f"{self.settings.network} answers with values beyond half precision or not a number; "
                    "check the image for NaN, or leave out the stage"
                )
        return maps

    def _plane(self, shown: Tensor, axis: int, spacing: Spacing, enlarge: float) -> list[Tensor]:
        slices = shown.movedim(axis + 1, 0)  # (slices, channels, rows, columns)
        picture = self.picture_size(shown.shape[1:], spacing, axis, enlarge)
        at_once = max(1, PIXELS_AT_ONCE // (picture[0] * picture[1]))
        parts: list[list[Tensor]] = [[] for _ in self.facts]
        for group in slices.split(at_once):
            for part, kept in zip(parts, self.pictures_to_maps(group, picture), strict=True):
                part.append(kept)
        # (slices, kept, rows, columns) -> (kept, ...) with the slices back on their axis
        return [torch.cat(part).movedim(0, axis + 1).contiguous() for part in parts]

    def pictures_to_maps(self, slices: Tensor, picture: tuple[int, int]) -> list[Float16[Tensor, "slices kept h w"]]:
        """Slices (N, C, rows, columns), resized to `picture`, as projected maps of each stage."""
        shrinking = picture[0] < slices.shape[2] or picture[1] < slices.shape[3]
        resized = F.interpolate(slices, picture, mode="bilinear", align_corners=False, antialias=shrinking)
        multiple = math.lcm(*(fact.stride for fact in self.facts))
        rows, columns = (-side % multiple for side in picture)
        padded = F.pad(resized, (0, columns, 0, rows), mode="replicate")
        answers = self.network(padded.to(memory_format=torch.channels_last))
        found = []
        for fact in self.facts:
            answer = answers[fact.stage].float() / fact.scale
            projection = fixed_projection(fact.stage, fact.channels, self.settings.cache_channels, self.settings.seed)
            if projection is not None:
                answer = torch.einsum("kc,nchw->nkhw", projection.to(answer), answer)
            found.append(cover(answer, fact, picture).to("cpu", torch.float16))
        return found

    def picture_size(self, size: Sequence[int], spacing: Spacing, axis: int, enlarge: float = 1.0) -> tuple[int, int]:
        """Rows and columns that slices across `axis` are resized to: isotropic, and enlarged (by `enlarge` more)."""
        inside = [i for i in range(3) if i != axis]
        finest = min(spacing[i] for i in inside)
        rows, columns = (max(1, round(size[i] * self.settings.enlarge * enlarge * spacing[i] / finest)) for i in inside)
        return rows, columns

    def _show(self, image: Tensor) -> Tensor:
        """The chosen channels, each scaled by its own percentiles to [0, 1]."""
        chosen = self.settings.channels or tuple(range(len(image)))
        if len(chosen) not in (1, 3) or max(chosen) >= len(image):
            raise ShapeError(
                f"a 2D network is shown one channel or three, the volume has {len(image)} and the settings choose "
                f"{self.settings.channels or 'all'}; set channels to the one or three to show"
            )
        picked = image[list(chosen)]
        low, high = self.settings.percentiles
        flat = picked.flatten(1)
        bounds = _quantiles(flat, (low / 100, high / 100))
        low_value, high_value = bounds[:, :1, None, None], bounds[:, 1:, None, None]
        return ((picked - low_value) / (high_value - low_value).clamp_min(1e-12)).clamp(0, 1)


def _quantiles(values: Float[Tensor, "channels voxels"], shares: tuple[float, ...]) -> Float[Tensor, "channels shares"]:
    """Like torch.quantile (nearest rank), which refuses more than 16 million values."""
    ordered = values.sort(dim=1).values
    places = [round(share * (values.shape[1] - 1)) for share in shares]
    return ordered[:, places]
