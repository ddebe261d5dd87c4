"""Images of a folder, decoded on demand: listing, splitting, and random crops as a function of (seed, step, index)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from dimlift.batch import ImageBatch
from dimlift.data.io.image_file import read_rgb
from dimlift.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
MIN_CROP_AREA = 0.35
"""Smallest area of a random crop as a fraction of the image."""


@dataclass(frozen=True)
class ImageFolder:
    """The images of a folder.

    Attributes:
        paths: sorted by name.
        classes: names of the class folders, sorted; empty for images that are not in class folders.
        labels: index into `classes` of each image; empty if there are no classes.
    """

    paths: tuple[Path, ...]
    classes: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()


def find_images(folder: Path | str) -> ImageFolder:
    """List all images in a folder and below; one subfolder per class labels them.

    Hidden files and folders are left out, such as the `._` files that macOS adds.

    Raises:
        DataError: if the folder does not exist or holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"the image folder {folder} does not exist; pass a folder of {', '.join(SUFFIXES)} files")
    paths = tuple(
        sorted(
            path
            for path in folder.rglob("*")
            if path.suffix.lower() in SUFFIXES and not _is_hidden(path.relative_to(folder))
        )
    )
    if not paths:
        raise DataError(
            f"{folder} holds no image; add some ({', '.join(SUFFIXES)}), in one subfolder per class for classification"
        )
    parents = [path.relative_to(folder).parts[:-1] for path in paths]
    if not all(parents):
        return ImageFolder(paths)
    classes = tuple(sorted({parent[0] for parent in parents}))
    return ImageFolder(paths, classes, tuple(classes.index(parent[0]) for parent in parents))


def split_images(images: ImageFolder, num_val: int, seed: int = 0) -> tuple[ImageFolder, ImageFolder]:
    """Split images into a training set and a validation set of `num_val` images.

    Raises:
        DataError: if no training image would be left.
    """
    count = len(images.paths)
    if not 0 <= num_val < count:
        raise DataError(
            f"{num_val} validation images requested (num_val_images), but there are {count} images (the first is in "
            f"{images.paths[0].parent}); add images, or set num_val_images to {count - 1} or less"
        )
    order = np.random.default_rng(seed).permutation(count).tolist()
    return _subset(images, sorted(order[num_val:])), _subset(images, sorted(order[:num_val]))


def read_centre_crop(path: Path, size: int) -> Float[Tensor, "3 size size"]:
    """Read the central square of an image, resized; values from 0 to 1."""
    image = read_rgb(path)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return _to_tensor(image.resize((size, size), Image.Resampling.BICUBIC, (left, top, left + side, top + side)))


class ImageSampler:
    """Samples batches of images: random crops, flipped with probability one half, as a function of (seed, step).

    Args:
        images: the images to sample from.
        size: height and width of the crops.
        seed: random seed.
        augment: False takes the central square of each image.
    """

    def __init__(self, images: ImageFolder, size: int, *, seed: int = 0, augment: bool = True) -> None:
        self.images, self.size, self.seed, self.augment = images, size, seed, augment

    def batch(self, step: int, count: int) -> ImageBatch:
        """Return the batch of a step: `count` images, without repetition if there are enough."""
        rng = np.random.default_rng([self.seed, step])
        total = len(self.images.paths)
        chosen = rng.choice(total, count, replace=count > total)
        images = torch.stack([self._crop(self.images.paths[i], rng) for i in chosen])
        labels = torch.tensor([self.images.labels[i] for i in chosen]) if self.images.labels else None
        return ImageBatch(images, labels, tuple(self.images.paths[i].name for i in chosen))

    def _crop(self, path: Path, rng: np.random.Generator) -> Float[Tensor, "3 size size"]:
        if not self.augment:
            return read_centre_crop(path, self.size)
        image = read_rgb(path)
        width, height = sample_crop_size(image.size, rng)
        left, top = rng.uniform(0, image.width - width), rng.uniform(0, image.height - height)
        box = (left, top, left + width, top + height)
        crop = _to_tensor(image.resize((self.size, self.size), Image.Resampling.BICUBIC, box))
        return crop.flip(-1) if rng.random() < 0.5 else crop


def sample_crop_size(full: Sequence[int], rng: np.random.Generator) -> tuple[float, float]:
    """Return (width, height) of a random crop inside the image, with area and aspect ratio as usual for ImageNet."""
    area = rng.uniform(MIN_CROP_AREA, 1.0) * full[0] * full[1]
    ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    return float(min(np.sqrt(area * ratio), full[0])), float(min(np.sqrt(area / ratio), full[1]))


def _to_tensor(image: Image.Image) -> Float[Tensor, "3 height width"]:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _subset(images: ImageFolder, indices: Sequence[int]) -> ImageFolder:
    labels = tuple(images.labels[i] for i in indices) if images.labels else ()
    return ImageFolder(tuple(images.paths[i] for i in indices), images.classes, labels)
