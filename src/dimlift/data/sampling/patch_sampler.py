"""Batches of patches: where to cut, how to change, what to hand out. An item depends on (seed, step, index) alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Num
from numpy.typing import NDArray
from torch import Tensor

from dimlift.batch import IGNORE, VolumeBatch
from dimlift.data.case import Task
from dimlift.data.preprocessing.blosc_array import PackedArray
from dimlift.data.preprocessing.blosc_samples import PackedSample
from dimlift.data.preprocessing.foreground import ForegroundIndex
from dimlift.data.preprocessing.sample import Sample
from dimlift.data.sampling.augmentation import Augmentation, IntensityAugmentation
from dimlift.data.sampling.grid_sampling import Shape, every, features_of_box, read_features, read_image, read_label
from dimlift.data.sampling.spatial_augmentation import draw_warp, sampling_grid
from dimlift.errors import DataError, ShapeError

Companions = Sequence[Sequence[Float[Tensor, "k d h w"]]]


class PatchSampler:
    """Cuts training patches out of samples.

    Args:
        samples: preprocessed cases; they stay where they are, in memory or packed on disk.
        patch_size: (depth, height, width) in voxels. Smaller volumes are padded: the image with its minimum, the label
            with background, features with zero.
        seed: with step and index the only source of chance.
        augment: False cuts only; True augments as nnU-Net does; or the settings themselves.
        foreground_share: share of patches centred on a foreground voxel, every class equally often.
        task: segmentation cuts patches anywhere; other tasks take the middle of the volume.
        labelled: False for samples without labels, or whose labels are not to be seen: every voxel is `IGNORE`.
        companions: for each sample one or more alternatives, of which a patch draws one: coarse feature tensors that
            cover the whole volume of the sample; they move with the image and come out as `VolumeBatch.features`,
            channels one behind the other.
        sequence_dropout: chance of each channel to be taken out of a patch, set to 0 throughout; one is always left.
        companion_stride: 1 gives features on every voxel of the patch, 2 on every second along each axis.

    Raises:
        DataError: if there is no sample, or one without label, or companions for another number of samples.
        ShapeError: if the patch size is not three positive numbers, multiples of `companion_stride`.
    """

    def __init__(
        self,
        samples: Sequence[Sample | PackedSample],
        patch_size: Shape,
        *,
        seed: int = 0,
        augment: bool | Augmentation = True,
        foreground_share: float = 1 / 3,
        task: Task = "segmentation",
        labelled: bool = True,
        companions: Sequence[Companions] | None = None,
        companion_stride: int = 1,
        sequence_dropout: float = 0.0,
    ) -> None:
        if not samples:
            raise DataError("no sample to cut patches from; check the split")
        if len(patch_size) != 3 or min(patch_size) < 1:
            raise ShapeError(f"patch_size is {patch_size}; three positive numbers (depth, height, width) are wanted")
        if companions is not None and any(size % companion_stride for size in patch_size):
            whole = tuple(-(-size // companion_stride) * companion_stride for size in patch_size)
            raise ShapeError(
                f"patch_size {tuple(patch_size)} with features on blocks of {companion_stride} voxels; "
                f"each size must be a multiple of that: {whole}"
            )
        if companions is not None and len(companions) != len(samples):
            raise DataError(
                f"features for {len(companions)} cases, but there are {len(samples)} samples; extract them again"
            )
        for sample in samples if labelled else ():
            if sample.label is None or sample.has_mask != (task == "segmentation"):
                wanted = "a mask" if task == "segmentation" else "one class or number"
                raise DataError(f"the case {sample.name!r} has no label fit for {task} ({wanted} is wanted); label it")
        self.samples = samples
        self.patch_size = patch_size
        self.companions = companions
        self._stride = companion_stride
        self._seed = seed
        self._task = task
        self._settings = augment if isinstance(augment, Augmentation) else Augmentation() if augment else None
        self._intensity = IntensityAugmentation(self._settings.intensity) if self._settings else None
        self._labelled = labelled
        self._foreground_share = foreground_share if task == "segmentation" and labelled else 0.0
        self._foreground = ForegroundIndex([sample.foreground for sample in samples] if labelled else ())
        self._dropout = sequence_dropout
        self._images = [_boxes(sample.image) for sample in samples]
        self._present = [torch.from_numpy(sample.present) for sample in samples]
        self._fill = [torch.from_numpy(sample.minimum) for sample in samples]

    def batch(self, step: int, batch_size: int, indices: Sequence[int] | None = None) -> VolumeBatch:
        """The batch of a step, or only its items of these indices: another process makes the rest."""
        items = [self._item(step, index) for index in (range(batch_size) if indices is None else indices)]
        images, labels, names, features = zip(*items, strict=True)
        return VolumeBatch(
            torch.stack(images),
            torch.stack(labels),
            names,
            None if self.companions is None else torch.stack(features),
        )

    def cases(self, step: int, batch_size: int) -> tuple[str, ...]:
        """The names of the cases of a step, without making its batch."""
        places = [self._place(np.random.default_rng([self._seed, step, index])) for index in range(batch_size)]
        return tuple(self.samples[number].name for number, _ in places)

    def _item(self, step: int, index: int) -> tuple[Tensor, Tensor, str, Tensor | None]:
        rng = np.random.default_rng([self._seed, step, index])
        number, start = self._place(rng)
        try:
            return self._patch(step, index, number, start, rng)
        except Exception as fault:
            fault.add_note(f"patch {index} of step {step}, cut from case {self.samples[number].name} at {start}")
            raise

    def _patch(
        self, step: int, index: int, number: int, start: Shape, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, str, Tensor | None]:
        sample, settings = self.samples[number], self._settings
        warp = draw_warp(rng, settings.warp, sample.geometry.spacing) if settings else None
        grid = None
        if warp is not None:
            z, y, x = (first + (size - 1) / 2 for first, size in zip(start, self.patch_size, strict=True))
            grid = sampling_grid(warp, self.patch_size, (z, y, x), sample.geometry.spacing)
        image, label, features = self._image(number, start, grid), self._label(number, start, grid), None
        if self.companions is not None:
            alternative = int(
                np.random.default_rng([self._seed, step, index, 1]).integers(len(self.companions[number]))
            )
            features = self._features(number, alternative, start, grid)
        if settings and self._intensity:
            flips = [
                i for i, axis in enumerate(sample.geometry.axes) if axis in settings.mirror_axes and rng.random() < 0.5
            ]
            if flips:
                spatial = [axis - 3 for axis in flips]
                image = image.flip(spatial)
                label = label.flip(spatial) if label.ndim else label
                features = None if features is None else features.flip(spatial)
            image = self._intensity(image, rng)
        return self._without_missing(image, number, step, index), label, sample.name, features

    def _without_missing(self, image: Tensor, number: int, step: int, index: int) -> Tensor:
        """What is missing stays 0 whatever augmentation did; in training more may be missing than is."""
        keep = self._present[number]
        if self._dropout and int(keep.sum()) > 1:
            chances = np.random.default_rng([self._seed, step, index, 2]).random(len(keep) + 1)
            stays = keep & torch.from_numpy(chances[:-1] >= self._dropout)
            there = keep.nonzero()[:, 0]
            stays[there[int(chances[-1] * len(there))]] |= not stays.any()
            keep = stays
        return image if keep.all() else image * keep[:, None, None, None]

    def _place(self, rng: np.random.Generator) -> tuple[int, Shape]:
        """Which sample, and the first voxel of the patch."""
        on_foreground = rng.random() < self._foreground_share and bool(self._foreground)
        focus: Shape | None = None
        if on_foreground:
            number, focus = self._foreground.draw(rng)
        else:
            number = int(rng.integers(len(self.samples)))
        start = []
        for axis, (full, size) in enumerate(zip(self._images[number].shape[1:], self.patch_size, strict=True)):
            room = full - size
            if room <= 0 or self._task != "segmentation":
                start.append(room // 2)
            elif focus is not None:
                start.append(min(max(focus[axis] - size // 2, 0), room))
            else:
                start.append(int(rng.integers(room + 1)))
        return number, (start[0], start[1], start[2])

    def _image(self, number: int, start: Shape, grid: Tensor | None) -> Tensor:
        image, fill = self._images[number], self._fill[number]
        if grid is not None:
            return read_image(image, grid, fill)
        patch = fill[:, None, None, None].expand(-1, *self.patch_size).clone()
        return _paste(patch, image, start)

    def _label(self, number: int, start: Shape, grid: Tensor | None) -> Num[Tensor, "*grid"]:
        if not self._labelled:
            return torch.full(self.patch_size, IGNORE)
        label = self.samples[number].label
        if not isinstance(label, np.ndarray | PackedArray):
            return torch.tensor(label, dtype=torch.float32 if self._task == "regression" else torch.int64)
        mask = _boxes(label[None] if isinstance(label, np.ndarray) else label)
        if grid is not None:
            return read_label(mask, grid).long()
        return _paste(torch.zeros(1, *self.patch_size, dtype=torch.int64), mask, start)[0]

    def _features(self, number: int, alternative: int, start: Shape, grid: Tensor | None) -> Tensor:
        companions = (self.companions or [])[number][alternative]
        shape: Shape = tuple(self._images[number].shape[1:])  # type: ignore[assignment]
        if grid is None:
            return features_of_box(companions, shape, start, self.patch_size, self._stride)
        coarser = every(grid, self._stride)
        return torch.cat([read_features(one, shape, coarser) for one in companions])


def _boxes(array: NDArray[Any] | PackedArray) -> Tensor | PackedArray:
    """An array of which boxes can be taken as tensors; a packed one stays on disk."""
    return array if isinstance(array, PackedArray) else torch.from_numpy(array)


def _paste(patch: Tensor, volume: Tensor | PackedArray, start: Shape) -> Tensor:
    """Copy what a box shows of a volume into a patch of the box's size."""
    into, out_of = [], []
    for first, size, full in zip(start, patch.shape[1:], volume.shape[1:], strict=True):
        low, high = max(first, 0), min(first + size, full)
        into.append(slice(low - first, high - first))
        out_of.append(slice(low, high))
    patch[:, into[0], into[1], into[2]] = volume[:, out_of[0], out_of[1], out_of[2]]
    return patch
