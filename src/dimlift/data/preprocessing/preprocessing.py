"""Preprocessing of volumes: from the files of a case to the input of a network, and from its output back to the files.

Everything that is fitted on the training cases is a field of `Preprocessing`, which is stored with the weights, so that
prediction repeats it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dimlift.data.case import Case, Dataset
from dimlift.data.chunks import depth_chunks
from dimlift.data.io.readers import read_volume, volume_stem
from dimlift.data.io.writers import LabelMap, write_labels
from dimlift.data.issue import Issue
from dimlift.data.orientation import Axis, Reorientation, canonical_spacing, choose_slice_axis
from dimlift.data.preprocessing.fingerprint import fingerprint_dataset, target_spacing
from dimlift.data.preprocessing.input_facts import class_volumes, measure_volume, volume_facts
from dimlift.data.preprocessing.intensity import (
    IntensityNormalisation,
    choose_scheme,
    ct_window_rules,
    fit_ct_normalisation,
)
from dimlift.data.preprocessing.masks import read_mask
from dimlift.data.preprocessing.resampling import Shape, resample_image, resample_labels, resampled_shape
from dimlift.data.preprocessing.sample import IGNORED, Geometry, Sample
from dimlift.data.volume import Volume, require_same_grid
from dimlift.data.voxel_checks import (
    NanPolicy,
    apply_nan_policy,
    integer_labels,
    require_known_labels,
    require_nan_policy,
)
from dimlift.errors import DataError

Spacing = tuple[float, float, float]
MAX_VOXELS = 2**31
"""Voxels of the largest volume after resampling; spacing comes from files of others."""
MissingChannels = Literal["error", "allow"]


@dataclass(frozen=True)
class Preprocessing:
    """Fitted preprocessing of volumes.

    Attributes:
        channels: name of each channel of the files.
        labels: name to value in the files, without background (0).
        ignore: value of voxels without annotation.
        spacing: (depth, height, width) in millimetres that volumes are resampled to; None for no resampling.
        typical_spacing: median spacing of the training volumes after preprocessing, (depth, height, width).
        slice_axis: the anatomical axis that becomes depth.
        normalisation: one rule per input channel of the network, in the order of `channels`.
        nan_policy: treatment of NaN and infinite voxels.
        resample_labels: whether masks on another grid than their image are resampled; else they are refused.
        windows: number of input channels per channel: one per window for CT channels with windows, else 1.
        missing: under "allow" the file of a channel may be missing; the channel is then 0 everywhere.
        numbered_files: whether CASE_0000 is channel 0 of CASE, as in the training set; otherwise every file is a case
            with its whole name. None for weights of earlier versions, which do not state it.
    """

    channels: tuple[str, ...]
    labels: dict[str, int]
    ignore: int | None
    spacing: Spacing | None
    typical_spacing: Spacing
    slice_axis: Axis
    normalisation: tuple[IntensityNormalisation, ...]
    nan_policy: NanPolicy = "error"
    resample_labels: bool = False
    windows: tuple[int, ...] = ()
    missing: MissingChannels = "error"
    numbered_files: bool | None = None

    @classmethod
    def fit(
        cls,
        dataset: Dataset,
        cases: Sequence[Case],
        spacing: Literal["native", "median"] | Spacing = "native",
        modality: str = "auto",
        nan_policy: NanPolicy = "error",
        resample_labels: bool = False,
        windows: Sequence[tuple[float, float]] = (),
        missing: MissingChannels = "error",
    ) -> "Preprocessing":
        """Fit preprocessing on the training cases.

        Args:
            dataset: the dataset.
            cases: the training cases, without any test case.
            spacing: "native" (no resampling), "median" (of the training cases) or (depth, height, width) in mm.
            modality: "auto" (by channel name), "ct", "mr", "mr_foreground" or "none".
            nan_policy: treatment of NaN and infinite voxels.
            resample_labels: whether masks on another grid than their image are resampled.
            windows: (centre, width) in Hounsfield units; every CT channel becomes one input channel per window.
            missing: whether files of some channels of a case may be missing.

        Raises:
            DataError: if there is no case, or one cannot be read.
            UnknownNameError: for an unknown modality or policy.
        """
        require_nan_policy(nan_policy)
        schemes = [choose_scheme(channel, modality) for channel in dataset.channels]
        if not cases:
            raise DataError("there is no training case to fit preprocessing on; check the split")
        if windows and "ct" not in schemes:
            raise DataError(
                f"windows need a CT channel; the channels are {', '.join(dataset.channels)}; remove the windows, "
                "rename the channel to CT, or set modality to 'ct'"
            )
        ct_channels = [index for index, scheme in enumerate(schemes) if scheme == "ct" and not windows]
        fingerprint = fingerprint_dataset(cases, ct_channels, resample_labels)
        slice_axis = choose_slice_axis([canonical_spacing(affine) for affine in fingerprint.affines])
        spacings = [canonical_spacing(affine, slice_axis) for affine in fingerprint.affines]
        target = target_spacing(spacing, spacings)
        depth, height, width = (float(value) for value in np.median(np.asarray(spacings), axis=0))
        rules: list[tuple[IntensityNormalisation, ...]] = []
        for index, scheme in enumerate(schemes):
            if scheme == "ct" and windows:
                rules.append(ct_window_rules(windows))
            elif scheme == "ct":
                rules.append((fit_ct_normalisation(fingerprint.foreground[index]),))
            else:
                rules.append((IntensityNormalisation(scheme),))
        typical = target or (depth, height, width)
        return cls(
            dataset.channels, dict(dataset.labels), dataset.ignore, target, typical, slice_axis,
            tuple(rule for group in rules for rule in group), nan_policy, resample_labels, tuple(map(len, rules)),
            missing, any(map(_has_channel_files, cases)),
        )  # fmt: skip

    @property
    def rules(self) -> list[tuple[IntensityNormalisation, ...]]:
        """For each channel of the files, the rules of its input channels."""
        counts = self.windows or (1,) * len(self.channels)
        ends = np.cumsum(counts)
        return [self.normalisation[end - count : end] for count, end in zip(counts, ends, strict=True)]

    @property
    def class_indices(self) -> dict[str, int]:
        """Name to class index, 1, 2, ... in the order of the values in the files; background is 0."""
        return {name: index for index, name in enumerate(sorted(self.labels, key=self.labels.__getitem__), start=1)}

    def read(self, case: Case) -> Sample:
        """Read and preprocess a case with its label.

        Raises:
            CorruptFileError, GeometryMismatchError, DataError: if a file cannot be used.
        """
        volumes = self._read_channels(case.images)
        mask = None
        if isinstance(case.label, Path):
            mask = read_mask(case.label, _first(volumes), self.resample_labels)
        return self._prepare(case.name, volumes, mask if mask is not None else case.label)  # type: ignore[arg-type]

    def read_image(self, paths: Sequence[Path], read: Callable[[Path], Volume] = read_volume) -> Sample:
        """Read and preprocess the images of one case: one file per channel, or one with channels on the last axis."""
        return self._prepare(volume_stem(paths[0]), self._read_channels(paths, read), None)

    def geometry(self, shape: Shape, affine: NDArray[np.float64], header: Any = None, path: Path = Path()) -> Geometry:
        """Return the transform between a file with this grid and its sample."""
        reorientation = Reorientation.from_affine(affine, self.slice_axis)
        spacing = canonical_spacing(affine, self.slice_axis)
        reoriented: Shape = reorientation.forward(np.broadcast_to(np.False_, shape)).shape
        target = resampled_shape(reoriented, spacing, self.spacing or spacing)
        if self.spacing is not None and math.prod(target) > max(MAX_VOXELS, math.prod(reoriented)):
            raise DataError(
                f"{path}: resampled to {' x '.join(f'{size:g}' for size in self.spacing)} mm it has "
                f"{' x '.join(map(str, target))} voxels, above {MAX_VOXELS}; check its spacing, or crop it"
            )
        depth, height, width = (old * size / new for old, size, new in zip(spacing, reoriented, target, strict=True))
        return Geometry(reorientation, reoriented, target, (depth, height, width), affine, header, path)

    def restore(self, labels: NDArray[Any], geometry: Geometry) -> NDArray[np.integer[Any]]:
        """Map a label map back to the grid of the file it was predicted from.

        Args:
            labels: class indices, (D, H, W) of the sample.
            geometry: of the sample.

        Returns:
            Label values as in the training files, with the shape and axes of the input file.

        Raises:
            DataError: if the shape is not that of the sample.
        """
        if labels.shape != geometry.shape:
            raise DataError(f"{geometry.path}: label map of shape {labels.shape}, but the sample has {geometry.shape}")
        values = [0, *sorted(self.labels.values())]
        table = np.array(values, dtype=np.result_type(np.min_scalar_type(min(values)), np.min_scalar_type(max(values))))
        classes = resample_labels(labels, geometry.reoriented_shape)
        restored = np.empty(geometry.reorientation.inverse(classes).shape, table.dtype)
        reoriented = geometry.reorientation.forward(restored)  # a view
        for part in depth_chunks(classes.shape):
            reoriented[part] = table[classes[part]]
        return restored

    def write(
        self, path: str | Path, labels: NDArray[Any], geometry: Geometry, output_format: str | None = None
    ) -> Path:
        """Map a label map back to the grid of its file and write it atomically.

        Args:
            path: where to write.
            labels: class indices, (D, H, W) of the sample.
            geometry: of the sample.
            output_format: key of `LABEL_FORMATS`; None uses the suffix of the path.
        """
        restored = self.restore(labels, geometry)
        label_map = LabelMap(restored, geometry.affine, geometry.path, geometry.header, self.labels)
        return write_labels(path, label_map, output_format)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        content = asdict(self)
        content["normalisation"] = [rule.to_json() for rule in self.normalisation]
        for key in ("channels", "spacing", "typical_spacing"):
            content[key] = list(content[key]) if content[key] is not None else None
        return {**content, "orientation": "RAS"}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Preprocessing":
        """Return the object that `to_json` was called on.

        Raises:
            DataError: if a field is missing or unknown.
        """
        try:
            fields = {key: value for key, value in content.items() if key != "orientation"}
            fields["normalisation"] = tuple(IntensityNormalisation.from_json(rule) for rule in fields["normalisation"])
            fields["windows"] = tuple(fields.get("windows", ()))
            for key in ("channels", "spacing", "typical_spacing"):
                fields[key] = tuple(fields[key]) if fields[key] is not None else None
            return cls(**fields)
        except (KeyError, TypeError) as fault:
            raise DataError(f"the stored preprocessing is not of this version: {fault}; train again") from fault

    def _read_channels(
        self, paths: Sequence[Path], read: Callable[[Path], Volume] = read_volume
    ) -> list[Volume | None]:
        """Return one volume per channel, all on one grid; None for a missing channel."""
        volumes: list[Volume | None] = []
        for path in paths:
            if self.missing == "allow" and len(paths) > 1 and not path.exists():
                volumes.append(None)
                continue
            volume = read(path)
            parts = [volume.array] if volume.array.ndim == 3 else list(np.moveaxis(volume.array, 3, 0))
            volumes += [Volume(part, volume.affine, volume.path, volume.header) for part in parts]
        names = ", ".join(str(path) for path in paths)
        if len(volumes) != len(self.channels):
            channels = ", ".join(self.channels)
            message = f"has {len(volumes)} channels; {len(self.channels)} are expected ({channels})"
            fix = "use one file per channel, in this order, or one file with the channels on its last axis"
            raise Issue(names, "error", message, fix).as_error()
        if not any(volumes):
            raise Issue(names, "error", "has none of its channels", "restore one of them").as_error()
        for other in filter(None, volumes):
            require_same_grid(_first(volumes), other)
        return volumes

    def _prepare(self, name: str, volumes: list[Volume | None], label: Volume | int | float | None) -> Sample:
        first = _first(volumes)
        measured = [None if volume is None else measure_volume(volume) for volume in volumes]
        facts = volume_facts(measured, self.channels, self.slice_axis)
        geometry = self.geometry(first.shape, first.affine, first.header, first.path)
        shape, spacing = geometry.shape, canonical_spacing(first.affine, self.slice_axis)
        del first
        image = np.empty((len(self.normalisation), *geometry.reoriented_shape), np.float32)
        non_finite: NDArray[np.bool_] | None = None
        start = 0
        for rules in self.rules:
            volume = volumes.pop(0)  # frees the array of a file with its last channel
            channels = image[start : start + len(rules)]
            start += len(rules)
            if volume is None:
                channels[...] = 0
                continue
            channels[-1] = geometry.reorientation.forward(volume.array)
            finite, where = apply_nan_policy(channels[-1], volume.path, self.nan_policy)
            for channel, rule in zip(channels, rules, strict=True):  # the last one may be written in place
                rule.apply(finite, None if where is None else ~where, out=channel)
            if where is not None:
                non_finite = where if non_finite is None else non_finite | where
            del volume
        if isinstance(label, Volume):
            classes = self._class_map(label)
            reoriented = geometry.reorientation.forward(classes)
            if self.nan_policy == "mask" and non_finite is not None:
                reoriented[non_finite] = IGNORED
            mask = np.ascontiguousarray(resample_labels(reoriented, shape))
            facts = replace(facts, foreground_ml=class_volumes(mask, self.class_indices, geometry.spacing))
            return Sample(name, np.ascontiguousarray(resample_image(image, shape, spacing)), mask, geometry, facts)
        return Sample(name, np.ascontiguousarray(resample_image(image, shape, spacing)), label, geometry, facts)

    def _class_map(self, mask: Volume) -> NDArray[np.int16]:
        """Return class indices on the axes of the file."""
        values = integer_labels(mask)
        allowed = [0, *sorted(self.labels.values())]
        require_known_labels(mask.path, values, [*allowed, *([] if self.ignore is None else [self.ignore])])
        classes = np.searchsorted(allowed, values).astype(np.int16)
        if self.ignore is not None:
            classes[values == self.ignore] = IGNORED
        return classes


def _has_channel_files(case: Case) -> bool:
    """Return whether a case has one file per channel, or a file with the number of its only channel."""
    return len(case.images) > 1 or volume_stem(case.images[0]) == f"{case.name}_0000"


def _first(volumes: Sequence[Volume | None]) -> Volume:
    """Return the first channel that is not missing."""
    return next(volume for volume in volumes if volume is not None)
