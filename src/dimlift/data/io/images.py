"""Photographs and other pictures from a folder: found, drawn by (seed, step, index), cropped, never kept in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from dimlift.batch import ImageBatch
from dimlift.errors import DamagedFile, DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
SMALLEST_SHARE = 0.35
"""Smallest share of a picture's area a crop may show."""


@dataclass(frozen=True)
class Pictures:
    """The pictures of a folder.

    Attributes:
        paths: sorted by name.
        classes: names of the folders the pictures lie in, sorted; empty where all lie in one.
        labels: index into `classes` of each picture; empty where there are no classes.
    """

    paths: tuple[Path, ...]
    classes: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()


def find_pictures(folder: Path | str) -> Pictures:
    """All pictures below a folder; a folder for each class makes them labelled.

    Raises:
        DataError: if there is no folder, or no picture in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"there is no folder of pictures {folder}; give a folder with {', '.join(SUFFIXES)} files")
    paths = tuple(sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES))
    if not paths:
        raise DataError(
            f"{folder} holds no picture; put some there ({', '.join(SUFFIXES)}), in a folder for each class where "
            "classes are to be learnt"
        )
    homes = [path.relative_to(folder).parts[:-1] for path in paths]
    if not all(homes):
        return Pictures(paths)
    classes = tuple(sorted({home[0] for home in homes}))
    return Pictures(paths, classes, tuple(classes.index(home[0]) for home in homes))


def split_pictures(pictures: Pictures, held_out: int, seed: int = 0) -> tuple[Pictures, Pictures]:
    """Two sets without a common picture: one to learn from, and `held_out` pictures to be asked about.

    Raises:
        DataError: if nothing would be left to learn from.
    """
    count = len(pictures.paths)
    if not 0 <= held_out < count:
        where = pictures.paths[0].parent
        raise DataError(
            f"{held_out} pictures are to be held out (held_out), and there are {count} (the first lies in {where}); "
            f"add pictures, or set held_out to {count - 1} or less"
        )
    order = np.random.default_rng(seed).permutation(count).tolist()
    return _chosen(pictures, sorted(order[held_out:])), _chosen(pictures, sorted(order[:held_out]))


def read_picture(path: Path) -> Image.Image:
    """A picture in red, green and blue, read to its end.

    Raises:
        DamagedFile: if it is cut short or no picture.
    """
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError) as fault:
        raise DamagedFile(f"{path} cannot be read as a picture ({fault}); copy it again or take it out") from fault


def whole_picture(path: Path, size: int) -> Float[Tensor, "3 size size"]:
    """The middle square of a picture, resized; values from 0 to 1."""
    picture = read_picture(path)
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return _tensor(picture.resize((size, size), Image.Resampling.BICUBIC, (left, top, left + side, top + side)))


class PictureSampler:
    """Draws batches of pictures: random crops, mirrored half the time, a function of (seed, step) alone.

    Args:
        pictures: what is drawn from.
        size: height and width of the crops.
        seed: with the step the only source of chance.
        augment: False shows the middle square of each picture.
    """

    def __init__(self, pictures: Pictures, size: int, *, seed: int = 0, augment: bool = True) -> None:
        self.pictures, self.size, self.seed, self.augment = pictures, size, seed, augment

    def batch(self, step: int, count: int) -> ImageBatch:
        """`count` pictures, no two the same while there are enough."""
        rng = np.random.default_rng([self.seed, step])
        total = len(self.pictures.paths)
        chosen = rng.choice(total, count, replace=count > total)
        images = torch.stack([self._crop(self.pictures.paths[i], rng) for i in chosen])
        labels = torch.tensor([self.pictures.labels[i] for i in chosen]) if self.pictures.labels else None
        return ImageBatch(images, labels, tuple(self.pictures.paths[i].name for i in chosen))

    def _crop(self, path: Path, rng: np.random.Generator) -> Float[Tensor, "3 size size"]:
        if not self.augment:
            return whole_picture(path, self.size)
        picture = read_picture(path)
        width, height = crop_size(picture.size, rng)
        left, top = rng.uniform(0, picture.width - width), rng.uniform(0, picture.height - height)
        box = (left, top, left + width, top + height)
        crop = _tensor(picture.resize((self.size, self.size), Image.Resampling.BICUBIC, box))
        return crop.flip(-1) if rng.random() < 0.5 else crop


def crop_size(full: Sequence[int], rng: np.random.Generator) -> tuple[float, float]:
    """(width, height) of a crop: area and aspect ratio drawn as usual for ImageNet, inside the picture."""
    area = rng.uniform(SMALLEST_SHARE, 1.0) * full[0] * full[1]
    ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    return float(min(np.sqrt(area * ratio), full[0])), float(min(np.sqrt(area / ratio), full[1]))


def _tensor(picture: Image.Image) -> Float[Tensor, "3 height width"]:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


def _chosen(pictures: Pictures, indices: Sequence[int]) -> Pictures:
    labels = tuple(pictures.labels[i] for i in indices) if pictures.labels else ()
    return Pictures(tuple(pictures.paths[i] for i in indices), pictures.classes, labels)
