"""The sections of a configuration that are the same for every method: one class a section, one description a key."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A section of a configuration: unknown keys are errors, values never change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


LATER: dict[str, Any] = {"later": True}
"""Of a key that came when there were runs already: at its default, which changes nothing, it is no part of what a run
is known by, so that finished ones stay finished."""


def without_later(section: Section, content: dict[str, Any]) -> dict[str, Any]:
    """What was dumped of a section, less the keys marked `LATER` that hold their default, at any depth."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if field.json_schema_extra == LATER and value == field.default:
            content.pop(name, None)
        elif isinstance(value, Section) and isinstance(content.get(name), dict):
            without_later(value, content[name])
    return content


class WithPresets(Section):
    """A method with a key `preset`: what it stands for is set wherever a configuration does not say otherwise."""

    published: ClassVar[dict[str, dict[str, Any]]] = {}
    """The keys of each preset."""

    @model_validator(mode="before")
    @classmethod
    def _preset_fills_in(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {**cls.published.get(str(values.get("preset")), {}), **values}


class Published(WithPresets):
    """A method whose one preset is what its paper says."""

    preset: Literal["none", "paper"] = Field(
        default="none", description="`paper` sets what the authors published, wherever a key is not given."
    )


class DatasetSection(Section):
    """Where the volumes are."""

    path: str = Field(description="Folder or CSV file with the volumes, relative to the folder the command runs in.")
    layout: Literal["auto", "nnunet", "decathlon", "bids", "csv", "folders", "classes"] = Field(
        default="auto",
        description="How files are laid out; `auto` looks for dataset.json, imagesTr, a CSV, images/ and labels/, or a "
        "folder for each class.",
    )


class CloudsSection(Section):
    """Where clouds of points are."""

    path: str = Field(
        description="Folder of clouds (a folder for each class labels them), a CSV (`cloud`, `label`), or an .npz of "
        "many clouds."
    )
    points: int = Field(default=1024, ge=8, description="Points drawn of each cloud; a smaller cloud repeats some.")
    turn: Literal["none", "upright", "any"] = Field(
        default="none", description="Turn clouds in training: not, about the axis that points up, or any way."
    )
    upright: Literal["x", "y", "z"] = Field(default="y", description="Axis that points up.")
    skip_bad: bool = Field(
        default=False, description="Leave out clouds that cannot be read, and count them in the record."
    )


class LabelledCloudsSection(CloudsSection):
    """Clouds of points with labels, in place of volumes, and what a network is shown of them."""

    frame: Literal["ball", "file"] = Field(
        default="ball",
        description="Every cloud in the unit ball around its mean, or in the unit of its file with its mean at the "
        "origin (scans, whose sizes mean something).",
    )
    radius: PositiveFloat | None = Field(
        default=None,
        description="Cut clouds into balls of this radius, in the unit of the points, and draw from one ball at a "
        "time; not set: from the whole cloud.",
    )
    features: tuple[str, ...] = Field(
        default=(),
        description="Columns shown beside the coordinates: `colours`, `intensity`, `nx`, `features` of `dimlift "
        "paint`, or whatever the files call them.",
    )


class PreprocessingSection(Section):
    """What happens to a volume before a network sees it; stored with the weights, repeated by `predict`."""

    spacing: Literal["native", "median"] | tuple[PositiveFloat, PositiveFloat, PositiveFloat] = Field(
        default="native",
        description="Voxel size to resample to: `native` (none), `median` of the training cases, or [z, y, x] in mm.",
    )
    modality: Literal["auto", "ct", "mr", "mr_nonzero", "none"] = Field(
        default="auto",
        description="Normalisation: `ct` (clipped to training percentiles), `mr` (z-score of each volume), "
        "`mr_nonzero` (z-score of the voxels above zero), `none`, or `auto` by the name of the channel.",
    )
    windows: tuple[tuple[float, PositiveFloat], ...] = Field(
        default=(),
        description="CT windows [[centre, width], ...] in Hounsfield units: a CT channel becomes one input channel for "
        "each, scaled to [-1, 1]. Three fit a network of colour pictures.",
    )
    missing_sequences: Literal["error", "allow"] = Field(
        default="error",
        description="Whether a case may lack the file of a channel; it is then 0, and `sequences: shared` skips it.",
    )
    nan_policy: Literal["error", "replace", "mask"] = Field(
        default="error",
        description="What to do with NaN and infinite voxels: stop, replace them, or take them out of training.",
    )
    resample_labels: bool = Field(
        default=False,
        description="Resample masks that lie on another grid than their image (nearest voxel); else they are refused.",
    )


class SplitSection(Section):
    """Which cases train and which test; groups (one patient) never lie on both sides."""

    file: str | None = Field(
        default=None,
        description="A `splits_final.json` of nnU-Net whose folds are used as they are, in place of the next keys.",
    )
    folds: int = Field(default=5, ge=2, description="Number of parts of the k-fold split by group.")
    test_cases: int | None = Field(
        default=None,
        ge=1,
        description="Hold out one fixed test set of this many cases instead of folds; then fold 0 is the only one.",
    )
    seed: int = Field(
        default=0, ge=0, description="Draws the folds or the fixed test set; not changed by the seed of a run."
    )
    draw: Literal["fixed", "seed"] = Field(
        default="fixed",
        description="With a fraction of the training cases: the same in every run, or drawn by the run's seed.",
    )


class BudgetSection(Section):
    """How long one run trains: `steps` or `seconds`, exactly one of them."""

    steps: int | None = Field(
        default=None, ge=1, description="Number of optimiser steps; resuming is bit-exact on a CPU."
    )
    seconds: PositiveFloat | None = Field(
        default=None, description="Training time in seconds. Feature extraction counts, validation does not."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> "BudgetSection":
        if (self.steps is None) == (self.seconds is None):
            raise ValueError("needs exactly one of 'steps' and 'seconds'")
        return self


class ResourcesSection(Section):
    """What one cell of a study takes of a machine, for `--on ray` and `--on slurm`; changes no result."""

    gpus: Annotated[float, Field(ge=0)] = Field(
        default=0, description="GPUs of a cell; on Ray a share lets several cells use one."
    )
    cpus: PositiveFloat = Field(default=1, description="Processors of a cell.")
    memory: str | None = Field(default=None, description="Memory of a cell, for example `32GiB`.")
    retries: int = Field(default=3, ge=0, description="Times a cell is begun again when its machine is lost.")
    minutes: int = Field(default=1440, ge=1, description="SLURM: longest time of a cell.")
    partition: str | None = Field(default=None, description="SLURM: partition to run in.")


class TrainingSection(Section):
    """The training loop; the same for every arm unless the arm sets its own rate."""

    patch_size: Literal["auto"] | tuple[int, int, int] = Field(
        default="auto",
        description="Voxels [depth, height, width] of a training patch; `auto` takes the median training volume, "
        "rounded up to multiples of 8, at most 128 cubed voxels in all.",
    )
    batch_size: int = Field(default=2, ge=1, description="Patches in a step.")
    rate: PositiveFloat = Field(default=1e-3, description="Learning rate of AdamW after warm-up.")
    weight_decay: float = Field(
        default=1e-2, ge=0, description="Decoupled weight decay; not applied to biases and norms."
    )
    warm_up: Share = Field(
        default=0.05, description="Share of the budget over which the rate rises; afterwards it falls along a cosine."
    )
    final_rate: Share = Field(default=0.0, description="Rate at the end of the budget, as a share of `rate`.")
    clip: float = Field(default=12.0, ge=0, description="Largest norm of the gradient; 0 turns clipping off.")
    precision: Literal["32", "bf16"] = Field(
        default="32", description="Arithmetic of the forward pass: `32`, or `bf16` for bfloat16 mixed precision."
    )
    ema: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0,
        description="Decay of a moving average of the weights, which is then what is saved; 0 turns it off.",
    )
    class_weights: Literal["balanced"] | tuple[PositiveFloat, ...] | None = Field(
        default=None,
        description="Weight of each class in the cross-entropy, in the order of the labels, in a segmentation the "
        "background first; `balanced` weighs each by the inverse of its training cases, or voxels.",
    )
    gradient_checkpointing: bool = Field(
        default=False, description="Recompute activations in the backward pass: less memory, more time."
    )
    augment: bool = Field(
        default=True,
        description="Random rotation, scaling, elastic deformation, intensity changes, noise and blur of patches.",
    )
    mirror_axes: tuple[Literal["z", "y", "x"], ...] = Field(
        default=(),
        description="Anatomical axes augmentation may mirror; x swaps left and right, wrong where labels have a side.",
    )
    foreground_share: Share = Field(
        default=1 / 3,
        description="Share of patches centred on a labelled voxel; rare classes are as likely as common ones.",
    )
    sequence_dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0,
        description="Chance of each channel to be hidden in a training patch, so that missing ones surprise nobody.",
    )
    validate_every: Share = Field(
        default=0.0,
        description="Score the test cases each time this share of the budget has passed; 0 only at the end.",
    )
    checkpoint_every: PositiveFloat = Field(
        default=60.0, description="Seconds between two checkpoints; the last two are kept."
    )
    overlap: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.5, description="Overlap of neighbouring windows in prediction."
    )
    threads: int | None = Field(default=None, ge=1, description="Processor threads; torch's own choice if not set.")
    workers: int = Field(
        default=0, ge=0, description="Processes that make batches ahead, the same ones in the same order; 0 for none."
    )
    packed: str | None = Field(
        default=None,
        description="Folder for preprocessed volumes, packed once, of which patches are then read from disk; they stay "
        "in memory if it is not set. The same batches either way.",
    )
    deterministic: bool = Field(
        default=False, description="Deterministic kernels only; an operation that has none is an error."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where to train: `auto` takes a GPU if there is one."
    )
    strategy: Literal["ddp", "fsdp"] = Field(
        default="ddp",
        description="What each process of a run holds: the whole network (`ddp`), or a part of every weight, gradient "
        "and moment (`fsdp`), for networks that do not fit one GPU. The same numbers either way.",
    )

    @model_validator(mode="before")
    @classmethod
    def _precision_may_be_a_number(cls, value: object) -> object:
        if isinstance(value, dict) and value.get("precision") == 32:  # YAML reads 32 as a number
            return {**value, "precision": "32"}
        return value
