"""Schema of `model.json`: types, ranges, and what the entries of a card say about one another.

A card may come from anyone. Entries that decide what a network computes, and how much memory that takes, are checked
here before any of them is used.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, model_validator

from dimlift.errors import DataError

MAX_WINDOW_VOXELS = 2**25
"""Voxels of the largest window over a volume (322 cubed); smaller volumes are padded to it."""

MAX_CASE_VOXELS = 2**29
"""Voxels of the largest network input of tasks about whole volumes."""


def _require_text(value: object) -> object:
    """Accept text, also with the surrogates that stand for bytes of file names that are no UTF-8."""
    if not isinstance(value, str) or len(value) > 10_000:
        raise ValueError("should be a text of at most 10,000 characters")
    return value


Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Millimetres = Annotated[float, Field(strict=True, ge=1e-4, le=1e4)]
Spacing = Annotated[list[Millimetres], Field(min_length=3, max_length=3)]
Flag = Annotated[bool, Field(strict=True)]
Name = Annotated[str, PlainValidator(_require_text)]
LabelValue = Annotated[int, Field(strict=True, ge=-(2**31), lt=2**31)]
Labels = Annotated[dict[Name, LabelValue], Field(max_length=65_536)]


def whole(least: int, most: int) -> Any:
    """Return the type of a whole number in a range."""
    return Annotated[int, Field(strict=True, ge=least, le=most)]


class CardSection(BaseModel):
    """A part of a card. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class BuiltForCard(CardSection):
    """Entry `built_for`: see `dimlift.config.method_config.TaskSpec`."""

    kind: Literal["segmentation", "classification", "regression"]
    in_channels: whole(1, 4096)
    num_classes: whole(1, 65_536)
    spacing: Spacing | None
    patch_size: Annotated[list[whole(0, 2**15)], Field(min_length=3, max_length=3)]
    seed: whole(-(2**63), 2**63 - 1)
    gradient_checkpointing: Flag
    target_mean: Number
    target_std: Positive
    class_weights: Annotated[list[Annotated[Number, Field(ge=0)]], Field(max_length=65_536)] | None


class NormalisationCard(CardSection):
    """An entry of `normalisation`: the statistics belong to the scheme "ct" alone."""

    scheme: Literal["zscore", "zscore_foreground", "ct", "none"]
    low: Number | None = None
    high: Number | None = None
    mean: Number | None = None
    std: Annotated[Number, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _has_its_statistics(self) -> Self:
        given = [value is not None for value in (self.low, self.high, self.mean, self.std)]
        if not all(given) if self.scheme == "ct" else any(given):
            raise ValueError(f"scheme {self.scheme!r} has {sum(given)} of the numbers low, high, mean and std")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low is {self.low:g}, above high, {self.high:g}")
        return self


class VolumePreprocessingCard(CardSection):
    """Entry `preprocessing` of volumes: see `dimlift.data.preprocessing.preprocessing.Preprocessing`."""

    channels: Annotated[list[Name], Field(min_length=1, max_length=4096)]
    labels: Labels
    ignore: LabelValue | None
    spacing: Spacing | None
    typical_spacing: Spacing
    slice_axis: Literal["z", "y", "x"]
    normalisation: Annotated[list[NormalisationCard], Field(min_length=1, max_length=4096)]
    nan_policy: Literal["error", "replace", "mask"]
    resample_labels: Flag
    windows: Annotated[list[whole(1, 4096)], Field(max_length=4096)]
    missing: Literal["error", "allow"]
    numbered_files: Flag | None = None
    orientation: Literal["RAS"]

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        counts = self.windows or [1] * len(self.channels)
        if len(counts) != len(self.channels) or sum(counts) != len(self.normalisation):
            raise ValueError(
                f"{len(self.channels)} channels with {counts} windows need as many entries in normalisation, not "
                f"{len(self.normalisation)}"
            )
        if self.spacing is not None and self.spacing != self.typical_spacing:
            raise ValueError(f"spacing is {self.spacing}, typical_spacing {self.typical_spacing}")
        return self


class PointCloudPreprocessingCard(CardSection):
    """Entry `preprocessing` of point clouds: see `dimlift.data.preprocessing.point_clouds.PointCloudPreprocessing`."""

    labels: Labels
    ignore: LabelValue | None
    normalise: Literal["unit_sphere", "centre"]
    features: list[Name]
    means: Annotated[list[Number], Field(max_length=4096)]
    stds: Annotated[list[Positive], Field(max_length=4096)]
    num_points: whole(1, 10**7)
    crop_radius: Annotated[float, Field(strict=True, ge=1e-9, le=1e9)] | None
    columns: list[Name] = []

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if len(self.means) != len(self.stds) or bool(self.means) != bool(self.features):
            raise ValueError(f"{len(self.features)} features have {len(self.means)} means and {len(self.stds)} stds")
        return self


Bounds = Annotated[list[Number], Field(min_length=2, max_length=2)]


class TrainingRangeCard(CardSection):
    """Entry `training_range`: see `dimlift.data.preprocessing.training_range.TrainingRange`."""

    cases: whole(1, 2**31)
    amounts: dict[Name, Bounds]
    low: dict[Name, Bounds]
    high: dict[Name, Bounds]
    orientations: list[Name]
    columns: list[Name]
    foreground_ml: dict[Name, Bounds]

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        for group in (self.amounts, self.low, self.high, self.foreground_ml):
            for name, (least, most) in group.items():
                if least > most:
                    raise ValueError(f"the range of {name!r} is {least:g} to {most:g}")
        return self


class WeightsCard(BaseModel):
    """Entries of any card. Unknown ones are kept: they describe the weights to people."""

    model_config = ConfigDict(extra="allow", frozen=True)

    schema_: Literal[1] = Field(alias="schema")
    weights_sha256: Name | None = None
    task: Literal["segmentation", "classification", "regression", "pretraining"] | None = None
    modality: Literal["volumes", "point_clouds"] | None = None
    method: Name | None = None
    source: Name | None = None
    licence: Name | None = None
    provenance: dict[str, Any] | None = None
    plan: dict[str, Any] | None = None
    certificate: dict[str, Any] | None = None
    channels: Annotated[list[Name], Field(max_length=4096)] = []
    labels: Labels = {}
    spacing: Spacing | None = None
    orientation: Name = ""
    up_axis: Literal["x", "y", "z"] | None = None
    normalisation: list[NormalisationCard] = []
    arm: dict[str, Any] | None = None
    seen: list[Name] = []
    seconds: Annotated[Number, Field(ge=0)] | None = None
    steps: whole(0, 2**63 - 1) | None = None


class TrainedCard(WeightsCard):
    """Entries of the card of a trained method."""

    task: Literal["segmentation", "classification", "regression"]
    modality: Literal["volumes", "point_clouds"]
    channels: Annotated[list[Name], Field(max_length=4096)]
    labels: Labels
    spacing: Spacing | None
    orientation: Name
    normalisation: list[NormalisationCard]
    arm: dict[str, Any]
    built_for: BuiltForCard
    preprocessing: VolumePreprocessingCard | PointCloudPreprocessingCard
    overlap: Annotated[float, Field(strict=True, ge=0, le=0.95)]
    precision: Literal["32", "bf16"]
    training_range: TrainingRangeCard | None = None
    settings_sha256: Name | None = None

    @model_validator(mode="before")
    @classmethod
    def _choose_preprocessing(cls, raw: Any) -> Any:
        """Validate the preprocessing by the modality, so that an error is about one of the two classes."""
        if not isinstance(raw, dict) or not isinstance(raw.get("preprocessing"), dict):
            return raw
        point_clouds = raw.get("modality") == "point_clouds"
        kind = PointCloudPreprocessingCard if point_clouds else VolumePreprocessingCard
        return {**raw, "preprocessing": kind.model_validate(raw["preprocessing"])}

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        built, stored = self.built_for, self.preprocessing
        classes = {"regression": 1}.get(self.task, len(self.labels))
        pairs: list[tuple[str, Any, str, Any]] = [
            ("task", self.task, "built_for.kind", built.kind),
            ("labels", list(self.labels.items()), "preprocessing.labels", list(stored.labels.items())),
        ]
        if isinstance(stored, VolumePreprocessingCard):
            classes += self.task == "segmentation"  # the background
            pairs += [
                ("channels", self.channels, "preprocessing.channels", stored.channels),
                ("spacing", self.spacing, "preprocessing.spacing", stored.spacing),
                ("normalisation", self.normalisation, "preprocessing.normalisation", stored.normalisation),
                ("built_for.in_channels", built.in_channels, "entries of normalisation", len(stored.normalisation)),
            ]
            if built.spacing is not None:
                pairs.append(
                    ("built_for.spacing", built.spacing, "preprocessing.typical_spacing", stored.typical_spacing)
                )
            most = MAX_WINDOW_VOXELS if self.task == "segmentation" else MAX_CASE_VOXELS
            depth, height, width = built.patch_size
            if not 1 <= depth * height * width <= most:
                raise ValueError(f"built_for.patch_size is {built.patch_size}; expected 1 to {most} voxels")
        else:
            pairs += [
                ("channels", self.channels, "points and preprocessing.features", ["points", *stored.features]),
                ("built_for.in_channels", built.in_channels, "3 coordinates and means", 3 + len(stored.means)),
                ("built_for.patch_size", built.patch_size, "that of point clouds", [0, 0, 0]),
            ]
        pairs.append(("built_for.num_classes", built.num_classes, "the number of labels (and background)", classes))
        if built.class_weights is not None:
            pairs.append(("class_weights", len(built.class_weights), "built_for.num_classes", built.num_classes))
        if len(set(self.labels.values())) < len(self.labels):
            raise ValueError(f"two labels have one value: {self.labels}")
        if self.task == "segmentation" and isinstance(stored, VolumePreprocessingCard) and 0 in self.labels.values():
            raise ValueError("a label has the value 0, which is background")
        for mine, found, theirs, expected in pairs:
            if found != expected:
                raise ValueError(f"{mine} is {found}, but {theirs} is {expected}")
        return self


SETTINGS = (
    "modality", "task", "labels", "arm", "built_for", "preprocessing", "overlap", "precision", "training_range",
)  # fmt: skip
"""Entries of a card that decide what is predicted."""


def settings_digest(card: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the entries that decide what is predicted; the order of labels is one of them."""
    content = json.dumps([card.get(name) for name in SETTINGS])
    return hashlib.sha256(content.encode()).hexdigest()


CardT = TypeVar("CardT", bound=WeightsCard)


def validate_card(card: Any, path: Path, kind: type[CardT]) -> CardT:
    """Check the entries of a card.

    Args:
        card: content of the file.
        path: the file, for messages.
        kind: `WeightsCard`, or `TrainedCard` for weights to predict with.

    Raises:
        DataError: naming the file and the first entries that are missing, out of range, or contradict others.
    """
    try:
        return kind.model_validate(card)
    except ValidationError as error:
        raise DataError(
            f"{path} does not describe its network: {listed_faults(error)}; give a folder that `dimlift train`, "
            "`compare` or `pretrain` wrote, copy it again, or train again"
        ) from error


def listed_faults(error: ValidationError) -> str:
    """Return the first faults of foreign content in one line, each with the place of the value."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [
        f"{'.'.join(str(part)[:100] for part in fault['loc'])}: {fault['msg'][:300]}".removeprefix(": ")
        for fault in faults[:3]
    ]
    return "; ".join(shown) + (f"; and {len(faults) - 3} more" if len(faults) > 3 else "")
