"""Configuration of VDT pretraining."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from dimlift.config.method_config import TaskSpec
from dimlift.config.pretraining_config import Pretraining, PretrainingData
from dimlift.config.sections import PaperPreset
from dimlift.errors import DataError
from dimlift.progress import Progress, no_progress

if TYPE_CHECKING:
    from dimlift.batch import Batch
    from dimlift.methods.method import Method

VDT_PAPER: dict[str, Any] = {"label_smoothing": 0.1, "shuffle_colours": True, "num_frozen_layers": 0}
"""Published values; network and training loop are in examples/vdt.yaml."""


class VDTPretraining(PaperPreset, Pretraining):
    """Classify images whose colours are three slices of a volume, in random order."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": VDT_PAPER}

    needs_volumes: ClassVar[bool] = False
    needs_images: ClassVar[bool] = True

    method: Literal["vdt"] = Field(default="vdt", description="Classify images passed as volumes of three slices.")
    teacher: str | None = Field(
        default=None,
        description="2D network with its head, `SOURCE:NAME`, whose soft labels are learnt; needed if images are not "
        "sorted into one folder per class.",
    )
    teacher_weights: str | None = Field(default=None, description="Weights file of the teacher.")
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="Probability mass of an image's label that is spread over all classes."
    )
    shuffle_colours: bool = Field(default=True, description="Sample the order of the colours for every image.")
    num_frozen_layers: int = Field(
        default=0,
        ge=0,
        description="First layers of the arm's 2D network that are not trained; 2 are the stem and a block.",
    )

    def model_task(self, task: TaskSpec) -> TaskSpec:
        """Return a classification of one channel, with the classes of the images or of the teacher."""
        num_classes = task.num_classes
        if self.teacher is not None:
            from dimlift.backbones.factory import create_backbone

            num_classes = int(create_backbone(self.teacher, pretrained=False)[0].num_classes)  # type: ignore[arg-type]
        return replace(task, kind="classification", in_channels=1, num_classes=num_classes)

    def build(self, model: Any, data: PretrainingData) -> "Method[Any]":
        """Build the method, with the teacher if one is named.

        Raises:
            DataError: if images have no classes and there is no teacher.
        """
        from dimlift.methods.teachers.teacher import open_teacher
        from dimlift.methods.vdt.method import VDT

        if self.teacher is None and (data.images is None or len(data.images.classes) < 2):
            raise DataError(
                "vdt needs classes, but the images are not sorted into one folder per class; sort them "
                "(images/dog/1.jpg), or name a 2D network that labels them: "
                "pretraining.teacher=packaged:efficientnet_lite0"
            )
        teacher = None
        if self.teacher is not None:
            teacher = open_teacher(self.teacher, pretrained=self.teacher_weights is None, weights=self.teacher_weights)
        options = self.model_dump(include={"label_smoothing", "shuffle_colours", "num_frozen_layers"})
        return VDT(model, teacher, **options)

    def batches(
        self, method: Any, data: PretrainingData, progress: Progress = no_progress
    ) -> "tuple[float, Callable[[int], Batch]]":
        """Return batches of random crops, as high as the training patches."""
        from dimlift.data.io.images import ImageSampler

        if data.images is None:
            raise DataError("'images' is missing: vdt trains on images; set images.path")
        sampler = ImageSampler(
            data.images, data.task.patch_size[-1], seed=data.seed, augment=bool(data.training.augment)
        )
        return 0.0, lambda step: sampler.batch(step, data.training.batch_size)
