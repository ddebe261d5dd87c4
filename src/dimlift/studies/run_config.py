"""The two configurations: one run (`TrainConfig`) and arms beside each other (`StudyConfig`)."""

import hashlib
import json
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, Union

from pydantic import Field, model_validator

from dimlift.config.method_config import Arm
from dimlift.config.sections import (
    BudgetSection,
    DatasetSection,
    LabelledCloudsSection,
    PositiveFloat,
    PreprocessingSection,
    ResourcesSection,
    Section,
    SplitSection,
    TrainingSection,
)
from dimlift.errors import ConfigError
from dimlift.methods.registry import METHODS, POINT_METHODS
from dimlift.studies.config_checks import decisive_source, require_of_clouds, require_readers
from dimlift.training.initialise import file_digest, weights_digest

if TYPE_CHECKING:
    AnyArm = Arm
else:
    AnyArm = Annotated[Union[(*METHODS.values(), *POINT_METHODS.values())], Field(discriminator="method")]

Kind = Literal["segmentation", "classification", "regression"]


PLAIN = ("unet", "nnunet", "point_unet")
"""Methods that are a plain 3D U-Net, of voxels or points, so that a study with one of them needs no other."""

BASELINE = {
    "method": "unet",
    "title": "plain 3D U-Net",
    "description": "A plain 3D U-Net from scratch: what one would otherwise use. In every study, so that nobody "
    "beats a straw man.",
}

POINT_BASELINE = {
    "method": "point_unet",
    "title": "plain sparse U-Net",
    "description": "A sparse U-Net on points from scratch: what one would otherwise use. In every study, so that "
    "nobody beats a straw man.",
}


class _Common(Section):
    """What one run and a whole study share."""

    dataset: DatasetSection | None = Field(default=None, description="Where the volumes are.")
    clouds: LabelledCloudsSection | None = Field(
        default=None, description="Clouds of points, in place of `dataset`: then arms are networks of points."
    )
    task: Kind = Field(
        default="segmentation",
        description="A class for every voxel or point, a class for every volume or cloud, or a number for every "
        "volume.",
    )
    preprocessing: PreprocessingSection = Field(
        default=PreprocessingSection(), description="What happens to a volume before a network sees it."
    )
    split: SplitSection = Field(default=SplitSection(), description="Which cases train and which test.")
    budget: BudgetSection = Field(description="How long one run trains.")
    training: TrainingSection = Field(default=TrainingSection(), description="The training loop.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.dataset is None) == (self.clouds is None):
            raise ValueError(
                "needs exactly one of 'dataset' (volumes) and 'clouds' (points); set dataset.path or clouds.path"
            )
        if self.clouds is not None:
            require_of_clouds(self)
        return self


class TrainConfig(_Common):
    """One run: `dimlift train CONFIG --out RUN`."""

    arm: AnyArm = Field(description="The method and its options.")
    name: str = Field(default="train", description="Name of the arm in messages and records.")
    fold: int | None = Field(
        default=0, ge=0, description="Part of the split that tests; null trains on every case and scores none."
    )
    fraction: PositiveFloat = Field(
        default=1.0, description="Training cases to use: a share up to 1, or a count above 1."
    )
    seed: int = Field(default=0, ge=0, description="Draws initial weights, patches and augmentation.")

    @model_validator(mode="after")
    def _fold_exists(self) -> "TrainConfig":
        _check_fold(self.fold, self.split)
        require_readers(self, {"arm": self.arm})
        return self

    def cell(self, manifest: str) -> str:
        """The name of this run: sha256 of everything that decides its result.

        Args:
            manifest: hash of the data set (`Dataset.manifest_hash()`).
        """
        decisive = self.model_dump(
            mode="json", exclude={"name", "fold", "fraction", "seed", "arm", "dataset", "clouds"}
        )
        for undecisive in ("checkpoint_every", "threads", "workers", "packed", "strategy"):
            decisive["training"].pop(undecisive)
        splits = decisive["split"].pop("file")
        if splits is not None:
            decisive["split"]["file"] = splits_digest(splits)
        if not self.training.deterministic:
            decisive["training"].pop("deterministic")
        content = {
            "config": {**decisive, "arm": decisive_options(self.arm), **decisive_source(self)},
            "data": manifest,
            "fraction": self.fraction,
            "fold": self.fold,
            "seed": self.seed,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def drawing_seed(self) -> int:
        """Draws initial weights, patches and augmentation; of an arm's repetition far from that of any other seed."""
        return self.seed + 1_000_003 * self.arm.repeat

    @property
    def loop(self) -> TrainingSection:
        """The training loop, with what the arm sets for itself."""
        own = {"rate": self.arm.rate, "precision": self.arm.precision}
        return self.training.model_copy(update={key: value for key, value in own.items() if value is not None})


class StudyConfig(_Common):
    """Arms beside each other: `dimlift compare STUDY.yaml --out DIR`."""

    title: str = Field(default="", description="Title of the report; the data set's name if empty.")
    notes: tuple[str, ...] = Field(default=(), description="Sentences the report shows above its table.")
    arms: dict[str, AnyArm] = Field(min_length=1, description="The arms by name, in the order of the report.")
    reference: str | None = Field(default=None, description="Arm the others are compared with; the first if not set.")
    baseline: bool = Field(
        default=True,
        description="Put a plain 3D U-Net first, as arm `unet`, into a segmentation study that has none; into a study "
        "of clouds a plain sparse one, as arm `point_unet`.",
    )
    folds: tuple[int, ...] = Field(default=(0,), min_length=1, description="Parts of the split to run.")
    fractions: tuple[PositiveFloat, ...] = Field(
        default=(1.0,), min_length=1, description="Training cases to use: shares up to 1, or counts above 1."
    )
    seeds: tuple[int, ...] = Field(
        default=(0, 1, 2), min_length=1, description="One run of every arm for each seed; a verdict needs at least two."
    )
    resources: ResourcesSection = Field(
        default=ResourcesSection(), description="What one cell takes of a machine of a cluster."
    )

    @model_validator(mode="before")
    @classmethod
    def _complete_arms(cls, raw: Any) -> Any:
        """`external: DIR` names its method; a study without a plain U-Net gets one."""
        if not isinstance(raw, dict) or not isinstance(raw.get("arms"), dict):
            return raw
        arms = {
            name: {"method": "external", **arm} if isinstance(arm, dict) and "external" in arm else arm
            for name, arm in raw["arms"].items()
        }
        baseline = dict(BASELINE if raw.get("clouds") is None else POINT_BASELINE)
        wanted = raw.get("clouds") is not None or raw.get("task", "segmentation") == "segmentation"
        plain = any(
            arm.get("method") in PLAIN if isinstance(arm, dict) else getattr(arm, "method", "") in PLAIN
            for arm in arms.values()
        )
        name = baseline["method"]
        if arms and wanted and raw.get("baseline", True) is True and not plain and name not in arms:
            arms = {name: baseline, **arms}
        return {**raw, "arms": arms}

    @model_validator(mode="after")
    def _names_exist(self) -> "StudyConfig":
        if self.reference is not None and self.reference not in self.arms:
            raise ValueError(f"'reference' is {self.reference!r}, but the arms are {', '.join(self.arms)}")
        for name, values in (("folds", self.folds), ("fractions", self.fractions), ("seeds", self.seeds)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name!r} holds a value twice: {list(values)}")
        for fold in self.folds:
            _check_fold(fold, self.split)
        require_readers(self, {f"arms.{name}": arm for name, arm in self.arms.items()})
        return self

    def run(self, arm: str, *, fraction: float, fold: int, seed: int) -> TrainConfig:
        """The configuration of one cell."""
        shared: dict[str, Any] = {name: getattr(self, name) for name in _Common.model_fields}
        chosen = self.arms[arm]
        if chosen.start is not None:
            own = (("{seed}", f"{seed}"), ("{fold}", f"{fold}"), ("{fraction}", f"{fraction:g}"))
            start = reduce(lambda path, pair: path.replace(*pair), own, chosen.start)
            chosen = chosen.model_copy(update={"start": start})
        return TrainConfig(**shared, arm=chosen, name=arm, fraction=fraction, fold=fold, seed=seed)


def splits_digest(path: str) -> str:
    """SHA-256 of a split file.

    Raises:
        ConfigError: if there is none.
    """
    if not Path(path).is_file():
        raise ConfigError(f"split.file: there is no {path}; give a splits_final.json of nnU-Net")
    return file_digest(Path(path))


def decisive_options(arm: Arm) -> dict[str, Any]:
    """What decides an arm's result: of weights to start from their content, wherever they lie."""
    options = arm.without_names()
    start = options.pop("start")
    return options if start is None else {**options, "start": weights_digest(Path(start))}


def _check_fold(fold: int | None, split: SplitSection) -> None:
    if fold is None or split.file is not None:
        return
    parts = 1 if split.test_cases else split.folds
    if not 0 <= fold < parts:
        raise ValueError(f"fold {fold} does not exist: the split has {parts}, counted from 0")
