"""The configuration of `dimlift stages`."""

from typing import Any, Literal

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


class StagesConfig(Section):
    """Stages of pretraining: `dimlift stages CONFIG --out DIR`."""

    labelled: DatasetSection = Field(description="Volumes with a label for every voxel.")
    unlabelled: DatasetSection | None = Field(
        default=None, description="Volumes for `segmia`; labels are not needed, and not looked at."
    )
    classified: DatasetSection | None = Field(
        default=None, description="Volumes for `multitask`: a table with one class each."
    )
    student: AnyArm = Field(description="The arm whose network learns; the same arm starts from the result.")
    stages: tuple[StageName, ...] = Field(
        default=("imagenet", "segmentation", "segmia"),
        min_length=1,
        description="In this order; without `imagenet` the network starts from random weights.",
    )
    baseline: bool = Field(default=True, description="Also train from random weights, to know what `imagenet` adds.")
    folds: int = Field(default=3, ge=2, description="Parts of the cross-validation within the labelled set.")
    rounds: int = Field(default=9, ge=1, description="Most rounds of `segmia` and of `multitask`.")
    refine_rate: PositiveFloat = Field(
        default=0.2, description="Rate of fine-tuning on labels after a round, as a share of the student's."
    )
    preprocessing: PreprocessingSection = Field(
        default=PreprocessingSection(), description="What happens to a volume before a network sees it."
    )
    budget: BudgetSection = Field(description="Of one training: on labels, or on the pseudo-labels of a round.")
    refine: BudgetSection | None = Field(default=None, description="Of one fine-tuning; as `budget` if not set.")
    training: TrainingSection = Field(default=TrainingSection(), description="The training loop.")
    seed: int = Field(default=0, ge=0, description="Draws initial weights, folds, patches and augmentation.")

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> "StagesConfig":
        if self.stages != tuple(sorted(set(self.stages), key=StageName.__args__.index)):  # type: ignore[attr-defined]
            raise ValueError(f"'stages' is {list(self.stages)}; each may come once, in the order {STAGES}")
        if "segmentation" not in self.stages:
            raise ValueError("'stages' needs 'segmentation': pseudo-labels come from a network that learnt labels")
        for stage, needed in (("segmia", "unlabelled"), ("multitask", "classified")):
            if stage in self.stages and getattr(self, needed) is None:
                raise ValueError(f"{needed!r} is missing: {stage} learns from these volumes; set {needed}.path")
        return self

    def lesson(
        self, dataset: DatasetSection, *, fold: int | None, start: str | None = None, random: bool = False
    ) -> TrainConfig:
        """One training as a run of its own.

        Args:
            fold: part of the labelled set that tests; None learns from every volume.
            start: weights folder to fine-tune, at the lower rate; None starts from the initial weights, which are
                the same every time.
            random: take no pretrained weights.
        """
        changes: dict[str, Any] = {"start": start}
        if start is not None:
            changes["rate"] = (self.student.rate or self.training.rate) * self.refine_rate
        if random or "imagenet" not in self.stages:
            changes |= {
                key: value for key, value in (("pretrained", False), ("weights", None)) if hasattr(self.student, key)
            }
        return TrainConfig(
            dataset=dataset,
            arm=self.student.model_copy(update=changes),
            preprocessing=self.preprocessing,
            split=SplitSection(folds=self.folds, seed=self.seed),
            budget=self.budget if start is None or self.refine is None else self.refine,
            training=self.training,
            fold=fold,
            seed=self.seed,
        )


STAGES = ("imagenet", "segmentation", "segmia", "multitask")
