"""The configuration of `dimlift self-train`."""

from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from dimlift.config.sections import (
    BudgetSection,
    DatasetSection,
    PositiveFloat,
    PreprocessingSection,
    Section,
    SplitSection,
    TrainingSection,
)
from dimlift.studies.run_config import AnyArm, TrainConfig

StageName = Literal["imagenet", "segmentation", "segmia", "multitask"]
STAGES: tuple[StageName, ...] = get_args(StageName)


class SelfTrainingConfig(Section):
    """Self-training in stages: `dimlift self-train CONFIG --out DIR`."""

    labelled: DatasetSection = Field(description="Volumes with a label for every voxel.")
    unlabelled: DatasetSection | None = Field(
        default=None, description="Volumes for the stage `segmia`; labels are not needed and never read."
    )
    classification: DatasetSection | None = Field(
        default=None, description="Volumes for the stage `multitask`: a table with one class per volume."
    )
    arm: AnyArm = Field(
        description="The arm whose network is trained; the same arm can be initialised from the result."
    )
    stages: tuple[StageName, ...] = Field(
        default=("imagenet", "segmentation", "segmia"),
        min_length=1,
        description="Stages in this order; without `imagenet` the network starts from random weights.",
    )
    baseline: bool = Field(
        default=True, description="Also train from random weights, to measure the effect of `imagenet`."
    )
    folds: int = Field(default=3, ge=2, description="Number of cv folds within the labelled set.")
    num_rounds: int = Field(default=9, ge=1, description="Maximum number of rounds of `segmia` and of `multitask`.")
    finetune_lr_scale: PositiveFloat = Field(
        default=0.2, description="Learning rate of fine-tuning on labels after a round, relative to the arm's."
    )
    preprocessing: PreprocessingSection = Field(
        default=PreprocessingSection(), description="Preprocessing of volumes before they enter the network."
    )
    budget: BudgetSection = Field(description="Length of one training, on labels or on the pseudo-labels of a round.")
    finetune: BudgetSection | None = Field(default=None, description="Length of one fine-tuning; `budget` if not set.")
    training: TrainingSection = Field(default=TrainingSection(), description="The training loop.")
    seed: int = Field(default=0, ge=0, description="Seed of initial weights, cv folds, patches and augmentation.")

    @model_validator(mode="after")
    def _is_consistent(self) -> "SelfTrainingConfig":
        if self.stages != tuple(stage for stage in STAGES if stage in self.stages):
            raise ValueError(f"'stages' is {list(self.stages)}; each may occur once, in the order {', '.join(STAGES)}")
        if "segmentation" not in self.stages:
            raise ValueError("'stages' needs 'segmentation': its network predicts the pseudo-labels")
        for stage, section in (("segmia", "unlabelled"), ("multitask", "classification")):
            if stage in self.stages and getattr(self, section) is None:
                raise ValueError(f"{section!r} is missing, but the stage {stage} needs it; set {section}.path")
        return self

    def training_config(
        self, dataset: DatasetSection, *, fold: int | None, init_from: str | None = None, random: bool = False
    ) -> TrainConfig:
        """Return the configuration of one training.

        Args:
            fold: test fold of the labelled set; None trains on every volume.
            init_from: weights folder to fine-tune at the lower learning rate; None starts from the initial weights,
                which are the same in every round.
            random: do not load pretrained weights.
        """
        changes: dict[str, Any] = {"init_from": init_from}
        if init_from is not None:
            changes["lr"] = (self.arm.lr or self.training.lr) * self.finetune_lr_scale
        if random or "imagenet" not in self.stages:
            changes |= {
                key: value for key, value in (("pretrained", False), ("weights", None)) if hasattr(self.arm, key)
            }
        return TrainConfig(
            dataset=dataset,
            arm=self.arm.model_copy(update=changes),
            preprocessing=self.preprocessing,
            split=SplitSection(folds=self.folds, seed=self.seed),
            budget=self.budget if init_from is None or self.finetune is None else self.finetune,
            training=self.training,
            fold=fold,
            seed=self.seed,
        )
