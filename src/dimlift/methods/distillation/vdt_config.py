"""VDT: a network for volumes learns from photographs, shown as volumes of three slices."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from dimlift.config.method_config import Task
from dimlift.config.pretraining_config import Pool, Pretraining
from dimlift.config.sections import Published
from dimlift.errors import DataError
from dimlift.progress import Progress, silent

if TYPE_CHECKING:
    from torch import nn

    from dimlift.batch import Batch

PAPER: dict[str, Any] = {"label_smoothing": 0.1, "shuffle": True, "freeze_layers": 0}
"""What was published; network and training loop are in examples/vdt.yaml."""


class VDTPretraining(Published, Pretraining):
    """Classify photographs whose colours are three slices of a volume, in random order."""

    published: ClassVar[dict[str, dict[str, Any]]] = {"paper": PAPER}

    needs_volumes: ClassVar[bool] = False
    needs_pictures: ClassVar[bool] = True

    method: Literal["vdt"] = Field(default="vdt", description="Classify photographs shown as volumes of three slices.")
    teacher: str | None = Field(
        default=None,
        description="2D network with its head, `SOURCE:NAME`, whose soft labels are learnt; needed where pictures do "
        "not lie in a folder for each class.",
    )
    teacher_weights: str | None = Field(default=None, description="File with weights of the teacher.")
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="Share of a picture's class that is spread over all classes."
    )
    shuffle: bool = Field(default=True, description="Draw the order of the colours for every picture.")
    freeze_layers: int = Field(
        default=0,
        ge=0,
        description="First layers of the student's 2D network that stay as they are; 2 are the stem and a block.",
    )

    def student_task(self, task: Task) -> Task:
        """One channel, and as many answers as the pictures, or the teacher, have classes."""
        classes = task.classes
        if self.teacher is not None:
            from dimlift.backbones.open_network import open_network

            classes = int(open_network(self.teacher, pretrained=False)[0].num_classes)  # type: ignore[arg-type]
        return replace(task, kind="classification", in_channels=1, classes=classes)

    def build(self, student: Any, pool: Pool) -> "nn.Module":
        """The student, and the teacher where one is named.

        Raises:
            DataError: if pictures have no classes and no teacher gives them any.
        """
        from dimlift.methods.distillation.vdt import VDT
        from dimlift.methods.teachers.teacher import open_teacher

        if self.teacher is None and (pool.pictures is None or len(pool.pictures.classes) < 2):
            raise DataError(
                "vdt learns the classes of pictures, but these do not lie in a folder for each class; arrange them so "
                "(pictures/dog/1.jpg), or name a 2D network that labels them: "
                "pretraining.teacher=packaged:efficientnet_lite0"
            )
        teacher = None
        if self.teacher is not None:
            teacher = open_teacher(self.teacher, pretrained=self.teacher_weights is None, weights=self.teacher_weights)
        return VDT(
            student,
            teacher,
            label_smoothing=self.label_smoothing,
            shuffle=self.shuffle,
            freeze_layers=self.freeze_layers,
        )

    def batches(self, method: Any, pool: Pool, progress: Progress = silent) -> "tuple[float, Callable[[int], Batch]]":
        """Random crops of pictures, at the height of the student's patches."""
        from dimlift.data.io.images import PictureSampler

        if pool.pictures is None:
            raise DataError("vdt learns from photographs; set pictures.path")
        sampler = PictureSampler(
            pool.pictures, pool.task.patch_size[-1], seed=pool.seed, augment=bool(pool.training.augment)
        )
        return 0.0, lambda step: sampler.batch(step, pool.training.batch_size)
