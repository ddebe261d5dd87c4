"""From a case's files to arrays a network reads, and from its answer back to the files' grid.

Everything that was decided by looking at the training cases is a field of `Preprocessing`, stored with the weights, so
that prediction repeats it.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dimlift.data.case import Case, Dataset
from dimlift.data.chunks import slabs
from dimlift.data.io.readers import read_file, stem_of
from dimlift.data.io.writers import LabelMap, write_labels
from dimlift.data.issue import Finding
from dimlift.data.orientation import Axis, Turn, canonical_spacing, choose_through_plane
from dimlift.data.preprocessing.fingerprint import survey, target_spacing
from dimlift.data.preprocessing.intensity import Normalisation, fit_ct, kind_for, windows_of
from dimlift.data.preprocessing.masks import read_mask
from dimlift.data.preprocessing.resampling import Shape, resample_image, resample_labels, resampled_shape
from dimlift.data.preprocessing.sample import IGNORED, Geometry, Sample
from dimlift.data.volume import Volume, require_same_grid
from dimlift.data.voxel_checks import NanPolicy, read_integers, require_listed, require_nan_policy, settle_non_finite
from dimlift.errors import DataError

Spacing = tuple[float, float, float]
Missing = Literal["error", "allow"]
"""What to do where the file of one channel of a case is absent."""


@dataclass(frozen=True)
class Preprocessing:
    """What is done to every volume before a network sees it.

    Attributes:
        channels: what each input channel shows.
        labels: name to value in the files, background (0) left out.
        ignore: value of voxels without annotation.
        spacing: (depth, height, width) in millimetres all volumes are resampled to; None keeps each as it is.
        typical_spacing: median spacing of the training volumes after preprocessing, (depth, height, width).
        through_plane: the anatomical axis that becomes depth.
        normalisation: one rule for each channel of the network's input, in the order of `channels`.
        windows: how many of these a CT channel gives, one for each window; 1 without windows.
        nan_policy: what to do with NaN and infinite voxels.
        resample_labels: whether masks on another grid than their image are resampled; else they are refused.
        missing: under "allow" a file of a channel may be absent; the channel is then 0 throughout.
    """

    channels: tuple[str, ...]
    labels: dict[str, int]
    ignore: int | None
    spacing: Spacing | None
    typical_spacing: Spacing
    through_plane: Axis
    normalisation: tuple[Normalisation, ...]
    nan_policy: NanPolicy = "error"
    resample_labels: bool = False
    windows: tuple[int, ...] = ()
    missing: Missing = "error"

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
        missing: Missing = "error",
    ) -> "Preprocessing":
        """Decide everything from the training cases.

        Args:
            cases: the training cases only: nothing may be learnt from test cases.
            spacing: "native" (no resampling), "median" (of the training cases) or (depth, height, width) in mm.
            modality: "auto" (by channel name), "ct", "mr", "mr_nonzero" or "none".
            windows: (centre, width) in Hounsfield units; every CT channel becomes one input channel for each.
            missing: whether files of some channels of a case may be absent.

        Raises:
            DataError: if there is no case, or one cannot be read.
            UnknownName: for a modality or policy that does not exist.
        """
        require_nan_policy(nan_policy)
        kinds = [kind_for(channel, modality) for channel in dataset.channels]
        if not cases:
            raise DataError("no training case to fit preprocessing on; check the split")
        if windows and "ct" not in kinds:
            raise DataError(
                f"windows are for CT, but the channels are {', '.join(dataset.channels)}; take them out, or call the "
                "channel CT, or set modality to 'ct'"
            )
        ct = [index for index, kind in enumerate(kinds) if kind == "ct" and not windows]
        seen = survey(cases, ct, resample_labels)
        through_plane = choose_through_plane([canonical_spacing(affine) for affine in seen.affines])
        own = [canonical_spacing(affine, through_plane) for affine in seen.affines]
        target = target_spacing(spacing, own)
        depth, height, width = (float(value) for value in np.median(np.asarray(own), axis=0))
        rules = [
            windows_of(windows)
            if kind == "ct" and windows
            else (fit_ct(seen.foreground[index]) if kind == "ct" else Normalisation(kind),)
            for index, kind in enumerate(kinds)
        ]
        typical = target or (depth, height, width)
        return cls(
            dataset.channels, dict(dataset.labels), dataset.ignore, target, typical, through_plane,
            tuple(rule for group in rules for rule in group), nan_policy, resample_labels, tuple(map(len, rules)),
            missing,
        )  # fmt: skip

    @property
    def rules(self) -> list[tuple[Normalisation, ...]]:
        """For each channel of the files, the rules of the input channels it becomes."""
        counts = self.windows or (1,) * len(self.channels)
        ends = np.cumsum(counts)
        return [self.normalisation[end - count : end] for count, end in zip(counts, ends, strict=True)]

    @property
    def class_indices(self) -> dict[str, int]:
        """Name to class index, 1, 2, ... in the order of the values in the files; background is 0."""
        return {name: index for index, name in enumerate(sorted(self.labels, key=self.labels.__getitem__), start=1)}

    def read(self, case: Case) -> Sample:
        """Read a case with its label.

        Raises:
            DamagedFile, GeometryMismatch, DataError: naming the file, what was found, and the way out.
        """
        volumes = self._open(case.images)
        mask = None
        if isinstance(case.label, Path):
            mask = read_mask(case.label, _first(volumes), self.resample_labels)
        return self._prepare(case.name, volumes, mask if mask is not None else case.label)  # type: ignore[arg-type]

    def read_image(self, paths: Sequence[Path], read: Callable[[Path], Volume] = read_file) -> Sample:
        """Read the images of one case, one file per channel or one file with all channels on its last axis."""
        return self._prepare(stem_of(paths[0]), self._open(paths, read), None)

    def geometry(self, shape: Shape, affine: NDArray[np.float64], header: Any = None, path: Path = Path()) -> Geometry:
        """How a file of this grid is turned and resampled."""
        turn = Turn.of(affine, self.through_plane)
        spacing = canonical_spacing(affine, self.through_plane)
        turned: Shape = turn.forward(np.broadcast_to(np.False_, shape)).shape
        wanted = resampled_shape(turned, spacing, self.spacing or spacing)
        depth, height, width = (old * size / new for old, size, new in zip(spacing, turned, wanted, strict=True))
        return Geometry(turn, turned, wanted, (depth, height, width), affine, header, path)

    def restore(self, labels: NDArray[Any], geometry: Geometry) -> NDArray[np.integer[Any]]:
        """Put a label map back onto the grid of the file it was predicted from.

        Args:
            labels: class indices, (D, H, W) of the sample.

        Returns:
            label values as in the training files, with exactly the shape and axes of the input file.

        Raises:
            DataError: if the shape is not the sample's.
        """
        if labels.shape != geometry.shape:
            raise DataError(f"{geometry.path}: label map of shape {labels.shape}, but the sample has {geometry.shape}")
        values = [0, *sorted(self.labels.values())]
        table = np.array(values, dtype=np.result_type(np.min_scalar_type(min(values)), np.min_scalar_type(max(values))))
        classes = resample_labels(labels, geometry.turned_shape)
        restored = np.empty(geometry.turn.backward(classes).shape, table.dtype)
        turned = geometry.turn.forward(restored)  # the same memory
        for part in slabs(classes.shape):
            turned[part] = table[classes[part]]
        return restored

    def write(self, path: str | Path, labels: NDArray[Any], geometry: Geometry, kind: str | None = None) -> Path:
        """Restore a label map and write it, whole or not at all.

        Args:
            labels: class indices, (D, H, W) of the sample.
            kind: of `dimlift.data.io.writers.OUTPUTS`; None goes by the suffix of the path.
        """
        restored = self.restore(labels, geometry)
        whole = LabelMap(restored, geometry.affine, geometry.path, geometry.header, self.labels)
        return write_labels(path, whole, kind)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        content = asdict(self)
        content["normalisation"] = [rule.to_json() for rule in self.normalisation]
        for key in ("channels", "spacing", "typical_spacing"):
            content[key] = list(content[key]) if content[key] is not None else None
        return {**content, "orientation": "RAS"}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Preprocessing":
        """Read back what `to_json` gave.

        Raises:
            DataError: if a field is missing or one too many.
        """
        try:
            fields = {key: value for key, value in content.items() if key != "orientation"}
            fields["normalisation"] = tuple(Normalisation.from_json(rule) for rule in fields["normalisation"])
            fields["windows"] = tuple(fields.get("windows", ()))
            for key in ("channels", "spacing", "typical_spacing"):
                fields[key] = tuple(fields[key]) if fields[key] is not None else None
            return cls(**fields)
        except (KeyError, TypeError) as fault:
            raise DataError(f"no stored preprocessing of this version: {fault}; train again") from fault

    def _open(self, paths: Sequence[Path], read: Callable[[Path], Volume] = read_file) -> list[Volume | None]:
        """One volume per channel, on one grid; None for a channel that is missing and may be."""
        volumes: list[Volume | None] = []
        for path in paths:
            if self.missing == "allow" and len(paths) > 1 and not path.exists():
                volumes.append(None)
                continue
            volume = read(path)
            parts = [volume.array] if volume.array.ndim == 3 else list(np.moveaxis(volume.array, 3, 0))
            volumes += [Volume(part, volume.affine, volume.path, volume.header) for part in parts]
        if len(volumes) != len(self.channels):
            found = f"gives {len(volumes)} channels, {len(self.channels)} are wanted ({', '.join(self.channels)})"
            remedy = "give one file per channel, in this order, or one file with the channels on its last axis"
            raise Finding(", ".join(str(path) for path in paths), "error", found, remedy).as_error()
        if not any(volumes):
            found = "has none of its channels"
            raise Finding(", ".join(str(path) for path in paths), "error", found, "restore one of them").as_error()
        for other in filter(None, volumes):
            require_same_grid(_first(volumes), other)
        return volumes

    def _prepare(self, name: str, volumes: list[Volume | None], answer: Volume | int | float | None) -> Sample:
        first = _first(volumes)
        geometry = self.geometry(first.shape, first.affine, first.header, first.path)
        turn, shape, spacing = geometry.turn, geometry.shape, canonical_spacing(first.affine, self.through_plane)
        del first
        image = np.empty((len(self.normalisation), *geometry.turned_shape), np.float32)
        bad: NDArray[np.bool_] | None = None
        place = 0
        for rules in self.rules:
            volume = volumes.pop(0)  # with its last channel goes what was read of a file
            channels = image[place : place + len(rules)]
            place += len(rules)
            if volume is None:
                channels[...] = 0
                continue
            channels[-1] = turn.forward(volume.array)
            finite, where = settle_non_finite(channels[-1], volume.path, self.nan_policy)
            for channel, rule in zip(channels, rules, strict=True):  # the last one may write where it reads
                rule.apply(finite, None if where is None else ~where, out=channel)
            if where is not None:
                bad = where if bad is None else bad | where
            del volume
        label: NDArray[np.int16] | int | float | None
        if isinstance(answer, Volume):
            label = self._classes(answer)
            upright = turn.forward(label)
            if self.nan_policy == "mask" and bad is not None:
                upright[bad] = IGNORED
            label = np.ascontiguousarray(resample_labels(upright, shape))
        else:
            label = answer
        image = np.ascontiguousarray(resample_image(image, shape, spacing))
        return Sample(name, image, label, geometry)

    def _classes(self, mask: Volume) -> NDArray[np.int16]:
        """Class indices on the axes of the file."""
        values = read_integers(mask)
        allowed = [0, *sorted(self.labels.values())]
        require_listed(mask.path, values, [*allowed, *([] if self.ignore is None else [self.ignore])])
        classes = np.searchsorted(allowed, values).astype(np.int16)
        if self.ignore is not None:
            classes[values == self.ignore] = IGNORED
        return classes


def _first(volumes: Sequence[Volume | None]) -> Volume:
    """The first channel that is there."""
    return next(volume for volume in volumes if volume is not None)
