"""The configuration of `dimlift pretrain`."""

import hashlib
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import Field, model_validator

from dimlift.config.method_config import Arm
from dimlift.config.pretraining_config import Pretraining
from dimlift.config.sections import (
    LATER,
    BudgetSection,
    CloudsSection,
    DatasetSection,
    PositiveFloat,
    PreprocessingSection,
    Section,
    SplitSection,
    TrainingSection,
    without_later,
)
from dimlift.errors import ConfigError
from dimlift.methods.points.config import PointEncoderArm
from dimlift.methods.registry import METHODS, POINT_NETWORKS, PRETRAINING

if TYPE_CHECKING:
    AnyArm = Arm
    AnyPretraining = Pretraining
else:
    AnyArm = Annotated[Union[(*METHODS.values(), *POINT_NETWORKS.values())], Field(discriminator="method")]
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


class FramesSection(Section):
    """Where RGB-D frames are."""

    path: str = Field(description="Folder of a recording, or of several: 7-Scenes, ScanNet, Redwood or TUM layout.")
    every: int = Field(
        default=1, ge=1, json_schema_extra=LATER, description="Every how many frames one is learnt from; 25 in PPKT."
    )
    first: int = Field(default=0, ge=0, description="Frames before this one are not learnt from.")
    count: int | None = Field(default=None, ge=1, description="At most this many frames are; not set: all.")
    stride: int = Field(
        default=4, ge=1, description="Every how many pixels, in rows and columns, the depth image gives a point."
    )
    pairs: int = Field(
        default=4096, ge=2, description="Pairs of a point and the pixel that shows it in a batch, if there are as many."
    )
    tolerance: PositiveFloat = Field(
        default=0.05, description="Share of its depth by which a point may lie behind the nearest surface of its pixel."
    )
    skip_bad: bool = Field(
        default=False, description="Leave out frames that cannot be read, and count them in the record."
    )


class PretrainConfig(Section):
    """One pretraining: `dimlift pretrain METHOD CONFIG --out DIR`."""

    pretraining: AnyPretraining = Field(description="The method and its options.")
    student: AnyArm | None = Field(
        default=None,
        description="The arm whose network learns; the same arm starts from the result. Methods for points bring a "
        "network of their own and have none.",
    )
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
    frames: FramesSection | None = Field(default=None, description="RGB-D frames to learn from.")
    clouds: CloudsSection | None = Field(default=None, description="Clouds of points to learn from.")
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
        if self.pretraining.needs_frames and self.frames is None:
            raise ValueError(f"'frames' is missing: {self.pretraining.method} learns from RGB-D; set frames.path")
        if self.pretraining.needs_student and self.student is None:
            raise ValueError(f"'student' is missing: {self.pretraining.method} teaches the network of an arm; name one")
        if not self.pretraining.needs_student and self.student is not None:
            raise ValueError(f"{self.pretraining.method} has a network of its own; take 'student' out")
        if self.pretraining.needs_clouds and self.clouds is None:
            raise ValueError(f"'clouds' is missing: {self.pretraining.method} learns from points; set clouds.path")
        if self.student is not None and self.pretraining.needs_clouds != isinstance(self.student, PointEncoderArm):
            wanted = POINT_NETWORKS if self.pretraining.needs_clouds else METHODS
            raise ValueError(
                f"{self.pretraining.method} cannot teach a {self.student.method}; set student.method to one of: "
                + ", ".join(wanted)
            )
        return self

    def skipping_bad(self) -> "PretrainConfig":
        """The same, but frames and clouds that cannot be read are left out.

        Raises:
            ConfigError: if there are neither.
        """
        kinds = {"frames": self.frames, "clouds": self.clouds}
        skipping = {
            name: part.model_copy(update={"skip_bad": True}) for name, part in kinds.items() if part is not None
        }
        if not skipping:
            raise ConfigError(
                f"--skip-bad leaves out RGB-D frames and clouds, {self.pretraining.method} learns from neither; repair "
                "the files, or take them out"
            )
        return self.model_copy(update=skipping)

    def identity(self, manifest: str) -> str:
        """sha256 of everything that decides the result.

        Args:
            manifest: hash of what is learnt from.
        """
        content: dict[str, Any] = self.model_dump(
            mode="json",
            exclude={
                **dict.fromkeys(("volumes", "pictures", "student"), True),
                "frames": {"path", "skip_bad"},
                "clouds": {"path", "skip_bad"},
            },
        )
        without_later(self, content)
        for undecisive in ("checkpoint_every", "threads"):
            content["training"].pop(undecisive)
        content |= {"student": self.student and self.student.without_names(), "manifest": manifest}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def loop(self) -> TrainingSection:
        """The training loop, with what the student's arm sets for itself."""
        if self.student is None:
            return self.training
        own = {"rate": self.student.rate, "precision": self.student.precision}
        return self.training.model_copy(update={key: value for key, value in own.items() if value is not None})
