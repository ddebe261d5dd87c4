"""Sample batches of patches; an item is a function of (seed, step, index)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Num
from numpy.typing import NDArray
from torch import Tensor

from dimlift.batch import IGNORE, VolumeBatch
from dimlift.data.case import TaskType
from dimlift.data.preprocessing.blosc_array import BloscArray
from dimlift.data.preprocessing.blosc_samples import BloscSample
from dimlift.data.preprocessing.foreground import ForegroundIndex
from dimlift.data.preprocessing.sample import Sample
from dimlift.data.sampling.augmentation import Augmentation, IntensityAugmentation
from dimlift.data.sampling.grid_sampling import (
    Shape,
    coarsen_grid,
    sample_feature_box,
    sample_features,
    sample_image,
    sample_label,
)
from dimlift.data.sampling.spatial_augmentation import sample_spatial_transform, sampling_grid
from dimlift.errors import DataError, ShapeError

FeatureVariants = Sequence[Sequence[Float[Tensor, "k d h w"]]]


class PatchSampler:
    """Samples training patches.

    Args:
        samples: preprocessed cases, in memory or on disk.
        patch_size: (depth, height, width) in voxels. Smaller volumes are padded: the image with its minimum, the label
            with background, features with zero.
        seed: random seed.
        augment: True augments as nnU-Net does, False does not, or the settings.
        oversample_foreground: fraction of patches centred on a foreground voxel, with uniform classes.
        task: for other tasks than segmentation, patches without augmentation are the centre of the volume.
        labelled: False for samples without labels, or to hide them: every voxel is `IGNORE`.
        features: for each sample one or more variants, of which a patch gets one: coarse feature maps that cover the
            whole volume. They are transformed like the image and become `VolumeBatch.features`, channels concatenated.
        channel_dropout: probability that a channel of a patch is set to 0; at least one channel is kept.
        feature_stride: 1 samples features on every voxel of the patch, 2 on every second one along each axis.

    Raises:
        DataError: if there is no sample, a label is missing, or the number of features differs from that of samples.
        ShapeError: if the patch size is not three positive numbers that are multiples of `feature_stride`.
    """

    def __init__(
        self,
        samples: Sequence[Sample | BloscSample],
        patch_size: Shape,
        *,
        seed: int = 0,
        augment: bool | Augmentation = True,
        oversample_foreground: float = 1 / 3,
        task: TaskType = "segmentation",
        labelled: bool = True,
        features: Sequence[FeatureVariants] | None = None,
        feature_stride: int = 1,
        channel_dropout: float = 0.0,
    ) -> None:
        _require_patch_size(patch_size, 1 if features is None else feature_stride)
        _require_samples(samples, features, task, labelled)
        self.samples = samples
        self.patch_size = patch_size
        self.features = features
        self._stride = feature_stride
        self._seed = seed
        self._task = task
        self._settings = augment if isinstance(augment, Augmentation) else Augmentation() if augment else None
        self._intensity = IntensityAugmentation(self._settings.intensity) if self._settings else None
        self._labelled = labelled
        self._oversample = oversample_foreground if task == "segmentation" and labelled else 0.0
        self._foreground = ForegroundIndex([sample.foreground for sample in samples] if labelled else ())
        self._dropout = channel_dropout
        self._images = [_as_sliceable(sample.image) for sample in samples]
        self._present = [torch.from_numpy(sample.present) for sample in samples]
        self._fill = [torch.from_numpy(sample.minimum) for sample in samples]

    def batch(self, step: int, batch_size: int, indices: Sequence[int] | None = None) -> VolumeBatch:
        """Return the batch of a step, or only its items at `indices` for processes that share a batch."""
        items = [self._item(step, index) for index in (range(batch_size) if indices is None else indices)]
        images, labels, names, features = zip(*items, strict=True)
        return VolumeBatch(
            torch.stack(images),
            torch.stack(labels),
            names,
            None if self.features is None else torch.stack(features),
        )

    def cases(self, step: int, batch_size: int) -> tuple[str, ...]:
        """Return the case names of a batch without reading it."""
        positions = [self._position(np.random.default_rng([self._seed, step, index])) for index in range(batch_size)]
        return tuple(self.samples[number].name for number, _ in positions)

    def _item(self, step: int, index: int) -> tuple[Tensor, Tensor, str, Tensor | None]:
        rng = np.random.default_rng([self._seed, step, index])
        number, start = self._position(rng)
        try:
            return self._patch(step, index, number, start, rng)
        except Exception as fault:
            fault.add_note(f"patch {index} of step {step}, cropped from case {self.samples[number].name} at {start}")
            raise

    def _patch(
        self, step: int, index: int, number: int, start: Shape, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, str, Tensor | None]:
        sample, settings = self.samples[number], self._settings
        transform = sample_spatial_transform(rng, settings.spatial, sample.geometry.spacing) if settings else None
        grid = None
        if transform is not None:
            z, y, x = (first + (size - 1) / 2 for first, size in zip(start, self.patch_size, strict=True))
            grid = sampling_grid(transform, self.patch_size, (z, y, x), sample.geometry.spacing)
        image, label, features = self._crop_image(number, start, grid), self._crop_label(number, start, grid), None
        if self.features is not None:
            variant = int(np.random.default_rng([self._seed, step, index, 1]).integers(len(self.features[number])))
            features = self._crop_features(number, variant, start, grid)
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
        return self._zero_missing(image, number, step, index), label, sample.name, features

    def _zero_missing(self, image: Tensor, number: int, step: int, index: int) -> Tensor:
        """Set missing channels to 0 again after augmentation, and apply channel dropout."""
        keep = self._present[number]
        if self._dropout and int(keep.sum()) > 1:
            chances = np.random.default_rng([self._seed, step, index, 2]).random(len(keep) + 1)
            kept = keep & torch.from_numpy(chances[:-1] >= self._dropout)
            present = keep.nonzero()[:, 0]
            kept[present[int(chances[-1] * len(present))]] |= not kept.any()
            keep = kept
        return image if keep.all() else image * keep[:, None, None, None]

    def _position(self, rng: np.random.Generator) -> tuple[int, Shape]:
        """Return the index of a sample, and the first voxel of the patch."""
        on_foreground = rng.random() < self._oversample and bool(self._foreground)
        focus: Shape | None = None
        if on_foreground:
            number, focus = self._foreground.sample(rng)
        else:
            number = int(rng.integers(len(self.samples)))
        start = []
        for axis, (full, size) in enumerate(zip(self._images[number].shape[1:], self.patch_size, strict=True)):
            margin = full - size
            if margin <= 0 or (self._task != "segmentation" and not self._settings):
                start.append(margin // 2)  # without augmentation, whole volumes are cropped at the centre
            elif focus is not None:
                start.append(min(max(focus[axis] - size // 2, 0), margin))
            else:
                start.append(int(rng.integers(margin + 1)))
        return number, (start[0], start[1], start[2])

    def _crop_image(self, number: int, start: Shape, grid: Tensor | None) -> Tensor:
        image, fill = self._images[number], self._fill[number]
        if grid is not None:
            return sample_image(image, grid, fill)
        patch = fill[:, None, None, None].expand(-1, *self.patch_size).clone()
        return _copy_box(patch, image, start)

    def _crop_label(self, number: int, start: Shape, grid: Tensor | None) -> Num[Tensor, "*grid"]:
        if not self._labelled:
            return torch.full(self.patch_size, IGNORE)
        label = self.samples[number].label
        if not isinstance(label, np.ndarray | BloscArray):
            return torch.tensor(label, dtype=torch.float32 if self._task == "regression" else torch.int64)
        mask = _as_sliceable(label[None] if isinstance(label, np.ndarray) else label)
        if grid is not None:
            return sample_label(mask, grid).long()
        return _copy_box(torch.zeros(1, *self.patch_size, dtype=torch.int64), mask, start)[0]

    def _crop_features(self, number: int, variant: int, start: Shape, grid: Tensor | None) -> Tensor:
        features = (self.features or [])[number][variant]
        shape: Shape = tuple(self._images[number].shape[1:])  # type: ignore[assignment]
        if grid is None:
            return sample_feature_box(features, shape, start, self.patch_size, self._stride)
        coarse = coarsen_grid(grid, self._stride)
        return torch.cat([sample_features(one, shape, coarse) for one in features])


def _require_patch_size(patch_size: Shape, stride: int) -> None:
    if len(patch_size) != 3 or min(patch_size) < 1:
        raise ShapeError(f"patch_size is {patch_size}; three positive numbers (depth, height, width) are expected")
    if any(size % stride for size in patch_size):
        multiple = tuple(-(-size // stride) * stride for size in patch_size)
        raise ShapeError(
            f"patch_size {tuple(patch_size)} with features on blocks of {stride} voxels; "
            f"each size must be a multiple of that, such as {multiple}"
        )


def _require_samples(
    samples: Sequence[Sample | BloscSample],
    features: Sequence[FeatureVariants] | None,
    task: TaskType,
    labelled: bool,
) -> None:
    if not samples:
        raise DataError("there is no sample to crop patches from; check the split")
    if features is not None and len(features) != len(samples):
        raise DataError(f"features of {len(features)} cases, but there are {len(samples)} samples; extract them again")
    for sample in samples if labelled else ():
        if sample.label is None or sample.has_mask != (task == "segmentation"):
            expected = "a mask" if task == "segmentation" else "one class or number"
            raise DataError(f"the case {sample.name!r} has no label for {task} ({expected} is expected); label it")


def _as_sliceable(array: NDArray[Any] | BloscArray) -> Tensor | BloscArray:
    """Return an array of which boxes can be sliced as tensors."""
    return array if isinstance(array, BloscArray) else torch.from_numpy(array)


def _copy_box(patch: Tensor, volume: Tensor | BloscArray, start: Shape) -> Tensor:
    """Copy the box of a volume that begins at `start` into a patch; the patch keeps its values outside the volume."""
    target, source = [], []
    for first, size, full in zip(start, patch.shape[1:], volume.shape[1:], strict=True):
        low, high = max(first, 0), min(first + size, full)
        target.append(slice(low - first, high - first))
        source.append(slice(low, high))
    patch[:, target[0], target[1], target[2]] = volume[:, source[0], source[1], source[2]]
    return patch
