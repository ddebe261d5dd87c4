"""Configuration of `dimlift pretrain`."""

import hashlib
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, Union

from pydantic import Field, model_validator

from dimlift.config.method_config import MethodConfig
from dimlift.config.pretraining_config import Pretraining
from dimlift.config.sections import (
    BudgetSection,
    DatasetSection,
    PointCloudsSection,
    PositiveFloat,
    PreprocessingSection,
    Section,
    SplitSection,
    TrainingSection,
)
from dimlift.errors import ConfigError
from dimlift.methods.point_networks.base import PointEncoderConfig
from dimlift.methods.registry import POINT_ENCODERS, PRETRAINING, methods_for

if TYPE_CHECKING:
    AnyArm = MethodConfig
    AnyPretraining = Pretraining
else:
    AnyArm = Annotated[
        Union[(*methods_for("volumes").values(), *POINT_ENCODERS.values())], Field(discriminator="method")
    ]
    AnyPretraining = Annotated[Union[tuple(PRETRAINING.values())], Field(discriminator="method")]  # noqa: UP007


class ImagesSection(Section):
    """Images to train on."""

    path: str = Field(description="Folder of images, searched recursively; one folder per class labels them.")
    size: int = Field(default=224, ge=8, description="Height and width of image crops, in pixels.")
    num_val_images: int = Field(default=0, ge=0, description="Images that are not trained on, for a later evaluation.")


class FramesSection(Section):
    """RGB-D frames to train on."""

    path: str = Field(
        description="Folder of one recording or of several, in the layout of 7-Scenes, ScanNet, Redwood or TUM."
    )
    frame_step: int = Field(default=1, ge=1, description="Distance between the frames that are used; 25 in PPKT.")
    first_frame: int = Field(default=0, ge=0, description="Index of the first frame that is used.")
    max_frames: int | None = Field(default=None, ge=1, description="Maximum number of frames; not set: all.")
    stride: int = Field(
        default=4, ge=1, description="Pixels between the points taken from a depth image, in rows and columns."
    )
    num_pairs: int = Field(default=4096, ge=2, description="Maximum number of pixel-point pairs of a batch.")
    tolerance: PositiveFloat = Field(
        default=0.05, description="Fraction of its depth by which a point may lie behind the surface of its pixel."
    )
    skip_corrupt: bool = Field(
        default=False, description="Leave out frames that cannot be read; the record counts them."
    )


class PretrainConfig(Section):
    """One pretraining: `dimlift pretrain METHOD CONFIG --out DIR`."""

    pretraining: AnyPretraining = Field(description="The method and its options.")
    arm: AnyArm | None = Field(
        default=None,
        description="The arm whose network is pretrained, and which is initialised from the result later. Methods for "
        "RGB-D frames have a network of their own and no arm.",
    )
    dataset: DatasetSection | None = Field(
        default=None, description="Volumes or point clouds to train on, as the method requires; labels are not used."
    )
    split: SplitSection | None = Field(
        default=None,
        description="Split of the study that will be initialised from the result; its test cases are left out. Without "
        "it all cases are used, and a study that tests on one of them is refused.",
    )
    fold: int = Field(default=0, ge=0, description="Cross-validation fold of `split` whose test cases are left out.")
    images: ImagesSection | None = Field(default=None, description="Images to train on.")
    frames: FramesSection | None = Field(default=None, description="RGB-D frames to train on.")
    point_clouds: PointCloudsSection = Field(
        default=PointCloudsSection(),
        description="Sampling of point clouds: `num_points`, `rotation` and `up_axis`; they are normalised to the unit "
        "sphere. Of RGB-D frames: `up_axis`, the axis of their points that points up.",
    )
    task: Literal["segmentation", "classification", "regression"] = Field(
        default="segmentation", description="Task of the arm."
    )
    preprocessing: PreprocessingSection = Field(
        default=PreprocessingSection(), description="Preprocessing of the volumes."
    )
    budget: BudgetSection = Field(description="Training budget.")
    training: TrainingSection = Field(default=TrainingSection(), description="The training loop.")
    seed: int = Field(default=0, ge=0, description="Seed of initial weights, patches and augmentation.")

    @model_validator(mode="after")
    def _check_sections(self) -> Self:
        method, needs = self.pretraining.method, self.pretraining
        kind = "point clouds" if needs.needs_point_clouds else "volumes"
        for needed, section, data in (
            (needs.needs_volumes or needs.needs_point_clouds, "dataset", kind),
            (needs.needs_images, "images", "images"),
            (needs.needs_frames, "frames", "RGB-D frames"),
        ):
            if needed and getattr(self, section) is None:
                raise ValueError(f"'{section}' is missing: {method} trains on {data}; set {section}.path")
        if needs.needs_arm and self.arm is None:
            raise ValueError(f"'arm' is missing: {method} pretrains the network of an arm; set arm.method")
        if not needs.needs_arm and self.arm is not None:
            raise ValueError(f"{method} has a network of its own; remove 'arm'")
        for key in ("features", "normalise", "crop_radius"):
            if getattr(self.point_clouds, key) != PointCloudsSection.model_fields[key].default:
                raise ValueError(f"'point_clouds.{key}' does not apply to pretraining; remove it")
        if self.arm is not None and needs.needs_point_clouds != isinstance(self.arm, PointEncoderConfig):
            methods = POINT_ENCODERS if needs.needs_point_clouds else methods_for("volumes")
            raise ValueError(
                f"{method} cannot pretrain {self.arm.method}; set arm.method to one of: {', '.join(methods)}"
            )
        return self

    def skipping_corrupt(self) -> "PretrainConfig":
        """Return a copy that leaves out frames and point clouds that cannot be read.

        Raises:
            ConfigError: if the method trains on neither.
        """
        sections: dict[str, Section | None] = {"frames": self.frames}
        if self.pretraining.needs_point_clouds:
            sections["dataset"] = self.dataset
        skipping = {
            name: part.model_copy(update={"skip_corrupt": True}) for name, part in sections.items() if part is not None
        }
        if not skipping:
            raise ConfigError(
                f"--skip-corrupt applies to RGB-D frames and point clouds, {self.pretraining.method} trains on "
                "neither; repair or remove the files"
            )
        return self.model_copy(update=skipping)

    def identity(self, manifest: str) -> str:
        """Return the sha256 of everything that determines the result.

        Args:
            manifest: hash of the data.
        """
        content: dict[str, Any] = self.model_dump(
            mode="json",
            exclude={**dict.fromkeys(("dataset", "images", "arm"), True), "frames": {"path", "skip_corrupt"}},
        )
        for key in ("checkpoint_every", "num_threads"):
            content["training"].pop(key)
        content |= {"arm": self.arm and self.arm.hashed_fields(), "manifest": manifest}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def loop(self) -> TrainingSection:
        """The training options, with those the arm overrides."""
        if self.arm is None:
            return self.training
        overrides = {"lr": self.arm.lr, "precision": self.arm.precision}
        return self.training.model_copy(update={key: value for key, value in overrides.items() if value is not None})
