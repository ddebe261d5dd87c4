"""Dense features of pictures from a frozen 2D network, computed once for each picture where there is a folder."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dimlift.errors import RunError
from dimlift.geometry.views import read_at
from dimlift.methods.teachers.teacher import Teacher
from dimlift.records.atomic_write import written_whole

FORMAT = 1
"""Part of every key: raised when the same network and picture give other features."""
Question = Callable[[Teacher, Tensor], Tensor]
"""A map of (B, channels, h, w) for pictures with values from 0 to 1."""
CELL = 32
"""Pictures are shown in multiples of this many pixels, unless the network has patches of its own size."""


class TeacherMaps:
    """The last map of a frozen network over whole pictures, of any size.

    Args:
        teacher: frozen.
        cache: folder for half-precision maps, found again by the network's weights and the picture; None keeps none.
        ask: what the teacher is asked for; its name is part of the key.
        enlarge: pictures are shown this much larger, which makes the map finer.

    Attributes:
        hits, misses: pictures found on disk, and shown to the network.
    """

    def __init__(
        self, teacher: Teacher, cache: Path | None = None, enlarge: float = 1.0, ask: Question = Teacher.maps
    ) -> None:
        self.teacher, self.cache, self.enlarge, self.ask = teacher, cache, enlarge, ask
        self.hits, self.misses = 0, 0
        self._digest: str | None = None

    @torch.no_grad()
    def __call__(self, pictures: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch channels h w"]:
        """Maps that cover the pictures from border to border. No gradient, whoever asks.

        Raises:
            RunError: if a map holds what half precision cannot keep.
        """
        if self.cache is None:
            return self._shown(pictures)
        return torch.cat([self._kept(picture[None]) for picture in pictures]).to(pictures)

    @property
    def channels(self) -> int:
        """Of a map."""
        probe = torch.zeros(1, 3, 224, 224, device=next(self.teacher.frozen.network.parameters()).device)
        return self.ask(self.teacher, probe).shape[1]

    def key(self, picture: Float[Tensor, "1 3 height width"]) -> str:
        """sha256 of weights, normalisation, size and every pixel."""
        self._digest = self._digest or self.teacher.frozen.digest()
        facts = {"format": FORMAT, "weights": self._digest, "mean": self.teacher.mean}
        facts |= {"deviation": self.teacher.deviation, "enlarge": self.enlarge, "shape": list(picture.shape)}
        facts |= {"ask": getattr(self.ask, "__qualname__", "")}
        found = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        found.update(picture.detach().cpu().float().contiguous().numpy().data)
        return found.hexdigest()

    def _kept(self, picture: Tensor) -> Tensor:
        folder = cast(Path, self.cache)
        path = folder / f"{self.key(picture)}.safetensors"
        try:
            with safe_open(path, framework="pt") as stored:
                found = stored.get_tensor("map").float()
            self.hits += 1
            return found
        except (SafetensorError, OSError):  # not there, or damaged: made anew
            pass
        found = self._shown(picture).cpu().half()
        if not torch.isfinite(found).all():
            raise RunError(f"{self.teacher.name or 'the network'} answers beyond half precision; keep no cache of it")
        folder.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as scratch:
            save_file({"map": found.contiguous()}, scratch)
        return found.float()

    def _shown(self, pictures: Tensor) -> Tensor:
        self.misses += len(pictures)
        self.teacher.frozen.to(pictures.device)
        return self.ask(self.teacher, fitting(pictures, self.teacher, self.enlarge)).float()


def fitting(
    pictures: Float[Tensor, "batch 3 height width"], teacher: Teacher, enlarge: float = 1.0
) -> Float[Tensor, "batch 3 h w"]:
    """Pictures resized so that the network's cells cover them whole: places from -1 to 1 stay what they are."""
    patch = getattr(getattr(teacher.frozen.network, "patch_embed", None), "patch_size", None)
    steps = patch if isinstance(patch, tuple) else (CELL, CELL)
    size = [max(1, round(side * enlarge / step)) * step for side, step in zip(pictures.shape[2:], steps, strict=True)]
    if size == list(pictures.shape[2:]):
        return pictures
    return F.interpolate(pictures, size, mode="bilinear", align_corners=False, antialias=True)


def read_pairs(
    maps: Float[Tensor, "batch channels h w"], places: Float[Tensor, "pairs 2"], picture: Int[Tensor, " pairs"]
) -> Float[Tensor, "pairs channels"]:
    """What a bilinearly enlarged map holds at places of its pictures, without enlarging it.

    Args:
        picture: index of each pair's picture, in ascending order.
    """
    found = [read_at(maps[i : i + 1], places[picture == i][None])[0] for i in range(len(maps))]
    return torch.cat(found)


def pair_values(maps: Float[Tensor, "batch channels h w"], batch: Any) -> Float[Tensor, "pairs channels"]:
    """Values of the maps at the pixels of a `FrameBatch`'s pairs."""
    return read_pairs(maps, batch.pair_places, batch.frame[batch.pair_points])
