"""The configuration of `dimlift pretrain`."""

import hashlib
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import Field, model_validator

from dimlift.experiments.arms.arm import Arm
from dimlift.experiments.pretraining.pretraining import Pretraining
from dimlift.experiments.sections import (
    BudgetSection,
    DatasetSection,
    PreprocessingSection,
    Section,
    SplitSection,
    TrainingSection,
)
from dimlift.experiments.tables import METHODS, PRETRAINING

if TYPE_CHECKING:
    AnyArm = Arm
    AnyPretraining = Pretraining
else:
    AnyArm = Annotated[Union[tuple(METHODS.values())], Field(discriminator="method")]  # noqa: UP007
    several = len(PRETRAINING) > 1
    AnyPretraining = (
        Annotated[Union[tuple(PRETRAINING.values())], Field(discriminator="method")]  # noqa: UP007
        if several
        else next(iter(PRETRAINING.values()))
    )


class PicturesSection(Section):
    """Where photographs are."""

    path: str = Field(description="Folder of pictures, searched to its depth; a folder for each class labels them.")
    size: int = Field(default=224, ge=8, description="Height and width of the crops a network is shown.")
    held_out: int = Field(
        default=0, ge=0, description="Pictures that are never learnt from, to ask the network about afterwards."
    )


class PretrainConfig(Section):
    """One pretraining: `dimlift pretrain METHOD CONFIG --out DIR`."""

    pretraining: AnyPretraining = Field(description="The method and its options.")
    student: AnyArm = Field(description="The arm whose network learns; the same arm starts from the result.")
    volumes: DatasetSection | None = Field(
        default=None, description="Volumes to learn from; labels are not needed, and not looked at."
    )
    split: SplitSection | None = Field(
        default=None,
        description="The split of the study that will start from the result: its test cases are left out. Without it "
        "every volume is learnt from, and a study that tests on one of them refuses to start.",
    )
    fold: int = Field(default=0, ge=0, description="Part of the split whose test cases are left out.")
    pictures: PicturesSection | None = Field(default=None, description="Photographs to learn from.")
    task: Literal["segmentation", "classification", "regression"] = Field(
        default="segmentation", description="What the student is for."
    )
    preprocessing: PreprocessingSection = Field(
        default=PreprocessingSection(), description="What happens to a volume before a network sees it."
    )
    budget: BudgetSection = Field(description="How long it trains.")
    training: TrainingSection = Field(default=TrainingSection(), description="The training loop.")
    seed: int = Field(default=0, ge=0, description="Draws initial weights, patches and augmentation.")

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> "PretrainConfig":
        if self.pretraining.needs_volumes and self.volumes is None:
            raise ValueError(f"'volumes' is missing: {self.pretraining.method} learns from volumes; set volumes.path")
        if self.pretraining.needs_pictures and self.pictures is None:
            raise ValueError(
                f"'pictures' is missing: {self.pretraining.method} learns from photographs; set pictures.path to a "
                "folder of them (any will do, ImageNet's own are best)"
            )
        return self

    def identity(self, manifest: str) -> str:
        """sha256 of everything that decides the result.

        Args:
            manifest: hash of what is learnt from.
        """
        content: dict[str, Any] = self.model_dump(mode="json", exclude={"volumes", "pictures", "student"})
        for undecisive in ("checkpoint_every", "threads"):
            content["training"].pop(undecisive)
        content |= {"student": self.student.without_names(), "manifest": manifest}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def loop(self) -> TrainingSection:
        """The training loop, with what the student's arm sets for itself."""
        own = {"rate": self.student.rate, "precision": self.student.precision}
        return self.training.model_copy(update={key: value for key, value in own.items() if value is not None})
