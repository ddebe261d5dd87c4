"""Configuration sections shared by all methods: one class per section, one description per key."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
DropRate = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """A section of a configuration. Unknown keys are errors; instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PresetMixin(Section):
    """Section with a key `preset` that changes the defaults of other keys."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    """Values by preset and key."""

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {**cls.presets.get(str(values.get("preset")), {}), **values}


class PaperPreset(PresetMixin):
    """Section with the preset `paper`."""

    preset: Literal["none", "paper"] = Field(
        default="none", description="`paper` uses the published settings as defaults of the other keys."
    )


class DatasetSection(Section):
    """Location and layout of a dataset of volumes or point clouds."""

    path: str = Field(
        description="Folder, CSV, archive or array file, relative to the working directory. Which kind of data it "
        "holds is detected; it must be the kind that the method is trained on."
    )
    layout: str | dict[str, Any] = Field(
        default="auto",
        description="Layout of the files (docs/data.md): `auto` detects it, for example from dataset.json, imagesTr, a "
        "CSV, images/ and labels/, one folder per patient, or one folder per class. Patterns describe any other: "
        '`{image: "{case}/*_t1.nii.gz", label: "{case}/*_seg.nii.gz"}`.',
    )
    skip_corrupt: bool = Field(
        default=False, description="Skip point clouds that cannot be read; the record lists them."
    )

    @field_validator("layout")
    @classmethod
    def _patterns_are_valid(cls, layout: str | dict[str, Any]) -> str | dict[str, Any]:
        from dimlift.data.datasets.pattern_layout import LayoutPatterns

        if not isinstance(layout, str):
            LayoutPatterns.from_mapping(layout)
        return layout


class PointCloudsSection(Section):
    """Sampling and normalisation of point clouds; stored with the weights and repeated by `predict`."""

    num_points: int = Field(
        default=1024, ge=8, description="Points sampled from each point cloud; of a smaller one some are repeated."
    )
    features: tuple[str, ...] = Field(
        default=(),
        description="Columns used in addition to the coordinates: `colours`, `intensity`, `nx`, `features` of `dimlift "
        "project-features`, or any other column of the files.",
    )
    columns: tuple[str, ...] = Field(
        default=(),
        description="Names of the columns of text files and arrays that have more than three and name none: `x y "
        "z intensity r g b label` in the order of the file, `_` for a column that is not used. `r g b` or `red green "
        "blue` are `colours`, `label` is the class of a point. Files that name their columns ignore this.",
    )
    normalise: Literal["unit_sphere", "centre"] = Field(
        default="unit_sphere",
        description="`unit_sphere` centres each point cloud and scales it to the unit sphere; `centre` keeps the unit "
        "of the file, for scans whose size is informative.",
    )
    crop_radius: PositiveFloat | None = Field(
        default=None,
        description="Radius of random spherical crops, in the unit of the points; not set: the whole point cloud.",
    )
    rotation: Literal["none", "upright", "any"] = Field(
        default="none", description="Random rotation in training: none, about `up_axis`, or any."
    )
    up_axis: Literal["x", "y", "z"] = Field(default="y", description="Axis that points up.")

    @field_validator("columns", mode="before")
    @classmethod
    def _split_columns(cls, value: Any) -> Any:
        return value.replace(",", " ").split() if isinstance(value, str) else value

    @field_validator("columns")
    @classmethod
    def _require_coordinates(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        folded = [name.casefold() for name in value if name != "_"]
        if value and (not {"x", "y", "z"} <= set(folded) or len(set(folded)) < len(folded)):
            raise ValueError(
                f"'{' '.join(value)}' must name x, y and z, and no column twice (`_` is a column not used)"
            )
        return value


class PreprocessingSection(Section):
    """Preprocessing of volumes; stored with the weights and repeated by `predict`."""

    spacing: Literal["native", "median"] | tuple[PositiveFloat, PositiveFloat, PositiveFloat] = Field(
        default="native",
        description="Voxel size to resample to: `native` (no resampling), `median` of the training cases, or [z, y, x] "
        "in mm.",
    )
    modality: Literal["auto", "ct", "mr", "mr_foreground", "none"] = Field(
        default="auto",
        description="Intensity normalisation: `ct` (clipped to training percentiles), `mr` (z-score of each volume), "
        "`mr_foreground` (z-score of the voxels above zero), `none`, or `auto` by the channel name.",
    )
    windows: tuple[tuple[float, PositiveFloat], ...] = Field(
        default=(),
        description="CT windows [[centre, width], ...] in Hounsfield units: a CT channel becomes one input channel per "
        "window, scaled to [-1, 1]. Three windows match the input of an RGB network.",
    )
    missing_channels: Literal["error", "allow"] = Field(
        default="error",
        description="Whether the file of a channel may be missing; the channel is then 0, and `sequences: shared` "
        "ignores it.",
    )
    nan_policy: Literal["error", "replace", "mask"] = Field(
        default="error",
        description="NaN and infinite voxels: stop, replace them, or exclude them from training.",
    )
    resample_labels: bool = Field(
        default=False,
        description="Resample masks whose grid differs from that of their image (nearest voxel); otherwise an error.",
    )


class SplitSection(Section):
    """Split into training and test cases; a group (patient) is never in both."""

    file: str | None = Field(
        default=None,
        description="`splits_final.json` of nnU-Net whose folds are used, instead of the next keys.",
    )
    folds: int = Field(default=5, ge=2, description="Number of folds of the k-fold split by group.")
    num_test: int | None = Field(
        default=None,
        ge=1,
        description="Hold out one fixed test set of this many cases instead of folds; the only fold is then 0.",
    )
    seed: int = Field(
        default=0, ge=0, description="Seed of the folds or the fixed test set; independent of the seed of a run."
    )
    subset_seed: Literal["split", "run"] = Field(
        default="split",
        description="Seed that selects a subset of the training cases: that of the split (the same subset in every "
        "run), or that of the run.",
    )


class BudgetSection(Section):
    """Length of training of one run: exactly one of `steps` and `seconds`."""

    steps: int | None = Field(
        default=None, ge=1, description="Number of optimizer steps; resuming is bit-exact on a CPU."
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
    """Resources of one run of a study, for `--executor ray` and `--executor slurm`; they do not affect results."""

    gpus: Annotated[float, Field(ge=0)] = Field(
        default=0, description="GPUs per run; with Ray a fraction lets several runs share one."
    )
    cpus: PositiveFloat = Field(default=1, description="CPU cores per run.")
    memory: str | None = Field(default=None, description="Memory per run, for example `32GiB`.")
    retries: int = Field(default=3, ge=0, description="Number of restarts of a run whose machine was lost.")
    minutes: int = Field(default=1440, ge=1, description="SLURM: time limit of a run.")
    partition: str | None = Field(default=None, description="SLURM: partition.")


class ReportSection(Section):
    """What the verdict of a study has to show; `dimlift report` can change it without a new run."""

    margin: float | None = Field(
        default=None,
        gt=0,
        description="Difference too small to matter: the report states when the true one is shown to be smaller. By "
        "default 0.01 for Dice and IoU and 0.05 for accuracy.",
    )
    effect: float | None = Field(
        default=None,
        gt=0,
        description="Difference the study is meant to detect; `compare` does not start one that would detect it with a "
        "probability below 30 %, except with `--anyway`.",
    )
    unseen_failure: float = Field(
        default=0.0,
        ge=0,
        description="A verdict has to hold although as many cases as the sample can miss fail by this much, for "
        "example 0.5 Dice; it then needs a large effect or many cases.",
    )
    unseen_collapse: float = Field(
        default=0.0, ge=0, description="The same for trainings; with three seeds hardly any verdict is left."
    )


class TrainingSection(Section):
    """The training loop; the same for every arm unless the arm sets its own learning rate or precision."""

    patch_size: Literal["auto"] | tuple[int, int, int] = Field(
        default="auto",
        description="Voxels [depth, height, width] of a training patch; `auto` takes the median training volume, "
        "rounded up to multiples of 8, at most 128 cubed voxels in total; for tasks about whole volumes the "
        "largest one. Those train on random crops where a volume is larger, and predict the mean over crops of this "
        "size.",
    )
    batch_size: int = Field(default=2, ge=1, description="Patches per step.")
    lr: PositiveFloat = Field(default=1e-3, description="Learning rate of AdamW after warmup.")
    weight_decay: float = Field(
        default=1e-2, ge=0, description="Decoupled weight decay; not applied to biases and norms."
    )
    warmup_fraction: Fraction = Field(
        default=0.05,
        description="Fraction of the budget over which the learning rate rises linearly; cosine decay follows.",
    )
    min_lr_fraction: Fraction = Field(
        default=0.0, description="Learning rate at the end of the budget, as a fraction of `lr`."
    )
    grad_clip_norm: float = Field(default=12.0, ge=0, description="Largest gradient norm; 0 disables clipping.")
    precision: Literal["32", "bf16"] = Field(
        default="32", description="Arithmetic of the forward pass: `32`, or `bf16` for bfloat16 mixed precision."
    )
    ema_decay: DropRate = Field(
        default=0.0,
        description="Decay of the exponential moving average of the weights, which is then what is saved; 0 disables "
        "it.",
    )
    class_weights: Literal["balanced"] | tuple[PositiveFloat, ...] | None = Field(
        default=None,
        description="Weight of each class in the cross-entropy, in the order of the labels, in a segmentation the "
        "background first; `balanced` uses the inverse number of training cases, or voxels.",
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
        description="Anatomical axes that augmentation may mirror; x swaps left and right, which is wrong for labels "
        "with a side.",
    )
    oversample_foreground: Fraction = Field(
        default=1 / 3,
        description="Fraction of patches centred on a labelled voxel; every class is chosen equally often.",
    )
    channel_dropout: DropRate = Field(
        default=0.0,
        description="Probability that a channel of a training patch is set to 0, for robustness to missing channels.",
    )
    val_interval: Fraction = Field(
        default=0.0,
        description="Score the test cases after each such fraction of the budget; 0 only at the end.",
    )
    checkpoint_every: PositiveFloat = Field(
        default=60.0, description="Seconds between checkpoints; the last two are kept."
    )
    sw_overlap: Annotated[float, Field(ge=0, le=0.95)] = Field(
        default=0.5, description="Overlap of neighbouring windows at inference, at most 0.95."
    )
    num_threads: int | None = Field(default=None, ge=1, description="CPU threads; torch's default if not set.")
    num_workers: int = Field(
        default=0,
        ge=0,
        description="Processes that prepare batches in advance; 0 for none. The batches are the same either way.",
    )
    cache_dir: str | None = Field(
        default=None,
        description="Folder for preprocessed volumes, from which patches are read; without it they stay in memory. The "
        "batches are the same either way.",
    )
    deterministic: bool = Field(
        default=False, description="Deterministic kernels only; an operation without one is an error."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Device of training: `auto` uses a GPU if there is one."
    )
    strategy: Literal["ddp", "fsdp"] = Field(
        default="ddp",
        description="What each process of a run holds: the whole network (`ddp`), or a shard of every weight, gradient "
        "and moment (`fsdp`), for networks that do not fit on one GPU. The numbers are the same either way.",
    )

    @model_validator(mode="before")
    @classmethod
    def _precision_as_text(cls, value: object) -> object:
        if isinstance(value, dict) and value.get("precision") == 32:  # YAML reads 32 as a number
            return {**value, "precision": "32"}
        return value
