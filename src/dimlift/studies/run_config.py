"""The configurations of a single run (`TrainConfig`) and of a study (`StudyConfig`)."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import Field, model_validator

from dimlift.config.method_config import MethodConfig
from dimlift.config.sections import (
    BudgetSection,
    DatasetSection,
    PointCloudsSection,
    PreprocessingSection,
    ReportSection,
    ResourcesSection,
    Section,
    SplitSection,
    TrainingSection,
)
from dimlift.data.case import TaskType
from dimlift.errors import ConfigError
from dimlift.methods.registry import METHODS, methods_for
from dimlift.records.train_size import TrainSize
from dimlift.studies.config_checks import hashed_data_options, require_modality
from dimlift.training.initialise import file_digest, weights_digest

if TYPE_CHECKING:
    AnyArm = MethodConfig
else:
    AnyArm = Annotated[Union[tuple(METHODS.values())], Field(discriminator="method")]  # noqa: UP007

TrainFraction = Annotated[float, Field(gt=0, le=1)]
TrainCount = Annotated[int, Field(ge=1)]

BASELINES = ("unet", "nnunet", "point_unet")
"""Plain 3D U-Nets on voxels or points; a study that contains one of them gets no additional baseline."""

BASELINE = {
    "method": "unet",
    "title": "plain 3D U-Net",
    "description": "A plain 3D U-Net trained from scratch, the usual choice without 2D pretraining. It is part of "
    "every study, so that every comparison includes a strong baseline.",
}

POINT_BASELINE = {
    "method": "point_unet",
    "title": "plain sparse U-Net",
    "description": "A sparse U-Net on points trained from scratch, the usual choice without 2D pretraining. It is part "
    "of every study, so that every comparison includes a strong baseline.",
}


class _Common(Section):
    """Keys shared by runs and studies."""

    dataset: DatasetSection = Field(description="The data: volumes or point clouds, as the method requires.")
    task: TaskType = Field(
        default="segmentation",
        description="`segmentation`: a class for every voxel or point; `classification`: a class for every volume or "
        "point cloud; `regression`: a number for every volume.",
    )
    preprocessing: PreprocessingSection = Field(
        default=PreprocessingSection(), description="Preprocessing of volumes before they enter the network."
    )
    point_clouds: PointCloudsSection = Field(
        default=PointCloudsSection(), description="Sampling and normalisation of point clouds."
    )
    split: SplitSection = Field(default=SplitSection(), description="Training and test cases.")
    budget: BudgetSection = Field(description="Length of training of one run.")
    training: TrainingSection = Field(default=TrainingSection(), description="The training loop.")


class TrainConfig(_Common):
    """A single run: `dimlift train CONFIG --out RUN`."""

    arm: AnyArm = Field(description="The method and its options.")
    name: str = Field(default="train", description="Name of the arm in messages and records.")
    fold: int | None = Field(
        default=0, ge=0, description="Test fold of the split; null trains on all cases and tests on none."
    )
    train_fraction: TrainFraction | None = Field(
        default=None, description="Fraction of the training cases to use; all of them if neither key is set."
    )
    train_count: TrainCount | None = Field(
        default=None, description="Number of training cases to use, instead of `train_fraction`."
    )
    seed: int = Field(default=0, ge=0, description="Seed of initial weights, patches and augmentation.")

    @model_validator(mode="after")
    def _is_consistent(self) -> "TrainConfig":
        _check_fold(self.fold, self.split)
        if self.train_fraction is not None and self.train_count is not None:
            raise ValueError("takes at most one of 'train_fraction' and 'train_count'; remove one of them")
        require_modality(self)
        return self

    def run_id(self, manifest: str) -> str:
        """Return the SHA-256 of everything that determines the result of this run.

        Args:
            manifest: hash of the dataset (`Dataset.manifest_hash()`).
        """
        excluded = {
            "name",
            "fold",
            "train_fraction",
            "train_count",
            "seed",
            "arm",
            "dataset",
            "preprocessing",
            "point_clouds",
        }
        config = self.model_dump(mode="json", exclude=excluded)
        for key in ("checkpoint_every", "num_threads", "num_workers", "cache_dir", "strategy"):
            config["training"].pop(key)
        if self.split.file is not None:
            config["split"]["file"] = splits_digest(self.split.file)
        content = {
            "config": {**config, "arm": hashed_options(self.arm), **hashed_data_options(self)},
            "data": manifest,
            "train_fraction": self.train_size.fraction,
            "train_count": self.train_size.count,
            "fold": self.fold,
            "seed": self.seed,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def train_size(self) -> TrainSize:
        """Fraction or number of the training cases; all of them by default."""
        if self.train_count is not None:
            return TrainSize(count=self.train_count)
        return TrainSize(1.0 if self.train_fraction is None else self.train_fraction)

    @property
    def init_seed(self) -> int:
        """Seed of initial weights, patches and augmentation; replicates of an arm get distinct ones."""
        return self.seed + 1_000_003 * self.arm.replicate

    @property
    def loop(self) -> TrainingSection:
        """The training loop with the arm's own learning rate and precision."""
        own = {"lr": self.arm.lr, "precision": self.arm.precision}
        return self.training.model_copy(update={key: value for key, value in own.items() if value is not None})


FIRST_ANALYSIS = 3
"""Seeds after which a study with `until: decided` may stop first."""


class StudyConfig(_Common):
    """A comparison of arms: `dimlift compare STUDY.yaml --out DIR`."""

    title: str = Field(default="", description="Title of the report; the dataset's name if empty.")
    notes: tuple[str, ...] = Field(default=(), description="Sentences shown above the table of the report.")
    arms: dict[str, AnyArm] = Field(min_length=1, description="The arms by name, in the order of the report.")
    reference: str | None = Field(
        default=None, description="Arm that the others are compared with; the first one if not set."
    )
    baseline: bool = Field(
        default=True,
        description="Add a plain 3D U-Net as first arm `unet` to a segmentation study without one; to a study of "
        "point clouds a plain sparse U-Net as arm `point_unet`.",
    )
    folds: tuple[int, ...] = Field(default=(0,), min_length=1, description="Test folds of the split.")
    train_fractions: tuple[TrainFraction, ...] = Field(
        default=(1.0,),
        description="Fractions of the training cases to train on; none by default if `train_counts` is set.",
    )
    train_counts: tuple[TrainCount, ...] = Field(
        default=(), description="Numbers of training cases to train on, for example `[1, 2, 8]`."
    )
    seeds: tuple[int, ...] = Field(
        default=(0, 1, 2),
        min_length=1,
        description="Every arm is trained once per seed; a verdict needs at least two seeds.",
    )
    until: Literal["planned", "decided"] = Field(
        default="planned",
        description="Train all seeds, or stop once every verdict is decided: after three seeds or any later one. The "
        "p values are then corrected for the number of analyses. Local execution only.",
    )
    resources: ResourcesSection = Field(default=ResourcesSection(), description="Resources of one run on a cluster.")
    report: ReportSection = Field(default=ReportSection(), description="What the verdict has to show.")

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, raw: Any) -> Any:
        """Fill in the method of `external: DIR`, the baseline, and the default of `train_fractions`."""
        if not isinstance(raw, dict):
            return raw
        if raw.get("train_counts") and "train_fractions" not in raw:
            raw = {**raw, "train_fractions": ()}
        if not isinstance(raw.get("arms"), dict):
            return raw
        arms = {
            name: {"method": "external", **arm} if isinstance(arm, dict) and "external" in arm else arm
            for name, arm in raw["arms"].items()
        }
        methods = [arm.get("method") if isinstance(arm, dict) else getattr(arm, "method", "") for arm in arms.values()]
        point_clouds = any(method in methods_for("point_clouds") for method in methods)
        baseline = dict(POINT_BASELINE if point_clouds else BASELINE)
        applies = point_clouds or raw.get("task", "segmentation") == "segmentation"
        present = any(method in BASELINES for method in methods)
        name = baseline["method"]
        if arms and applies and raw.get("baseline", True) is True and not present and name not in arms:
            arms = {name: baseline, **arms}
        return {**raw, "arms": arms}

    @model_validator(mode="after")
    def _is_consistent(self) -> "StudyConfig":
        if self.reference is not None and self.reference not in self.arms:
            raise ValueError(f"'reference' is {self.reference!r}, but the arms are {', '.join(self.arms)}")
        for name in ("folds", "train_fractions", "train_counts", "seeds"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name!r} contains a value twice: {list(values)}")
        if not self.train_sizes:
            raise ValueError("needs a value in 'train_fractions' or 'train_counts', for example train_fractions: [1.0]")
        for fold in self.folds:
            _check_fold(fold, self.split)
        require_modality(self)
        if self.until == "decided" and self.analyses < 2:
            raise ValueError(f"until: decided needs at least {FIRST_ANALYSIS + 1} seeds, got {len(self.seeds)}")
        return self

    @property
    def analyses(self) -> int:
        """Planned analyses of the verdicts: after the third seed and every later one, or at the end only."""
        return max(1, len(self.seeds) - FIRST_ANALYSIS + 1) if self.until == "decided" else 1

    @property
    def train_sizes(self) -> tuple[TrainSize, ...]:
        """Training sizes of the study, counts first."""
        return (*(TrainSize(count=n) for n in self.train_counts), *(TrainSize(f) for f in self.train_fractions))

    def run_config(self, arm: str, *, train_size: TrainSize, fold: int, seed: int) -> TrainConfig:
        """Return the configuration of one run of the study."""
        shared: dict[str, Any] = {name: getattr(self, name) for name in _Common.model_fields}
        method = self.arms[arm]
        if method.init_from is not None:
            path = train_size.fill_in(method.init_from).replace("{seed}", f"{seed}").replace("{fold}", f"{fold}")
            method = method.model_copy(update={"init_from": path})
        shared |= {"train_fraction": train_size.fraction, "train_count": train_size.count}
        return TrainConfig(**shared, arm=method, name=arm, fold=fold, seed=seed)


def splits_digest(path: str) -> str:
    """Return the SHA-256 of a split file.

    Raises:
        ConfigError: if there is no such file.
    """
    if not Path(path).is_file():
        raise ConfigError(f"split.file: there is no {path}; pass a splits_final.json of nnU-Net")
    return file_digest(Path(path))


def hashed_options(arm: MethodConfig) -> dict[str, Any]:
    """Return the options of an arm that determine its result; `init_from` is replaced by a hash of the weights."""
    options = arm.hashed_fields()
    if arm.init_from is not None:
        options["init_from"] = weights_digest(Path(arm.init_from))
    return options


def _check_fold(fold: int | None, split: SplitSection) -> None:
    if fold is None or split.file is not None:
        return
    count = 1 if split.num_test else split.folds
    if not 0 <= fold < count:
        raise ValueError(f"fold {fold} does not exist: the split has {count}, counted from 0")
