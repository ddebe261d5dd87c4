"""A lifted network that keeps answering pictures as the 2D network it came from (Simple3D-Former's distillation)."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from dimlift.config.method_config import Task
from dimlift.config.sections import PositiveFloat, Published
from dimlift.errors import ConfigError
from dimlift.methods.lifted.config import FromTwoDimensions, LiftedArm
from dimlift.methods.simple3d.config import PAPER, Simple3DArm
from dimlift.methods.supervised.volumes import volume_method
from dimlift.progress import Progress, silent

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dimlift.batch import Batch
    from dimlift.data.io.images import Pictures
    from dimlift.data.preprocessing.sample import Sample


REMINDED: dict[str, Any] = {"retention": 0.1, "temperature": 1.0, "images_per_step": 64}
"""Beside batches of 64 volumes; the authors' program also has `hard: true`, which its paper has not."""


class Remembering(Published, FromTwoDimensions):
    """What an arm around a 2D network needs to be reminded of photographs in every step."""

    published: ClassVar[dict[str, dict[str, Any]]] = {"paper": REMINDED}

    photos: str = Field(description="Folder of photographs, searched to its depth; any will do, labels are not read.")
    retention: float = Field(
        default=0.1, ge=0, description="Lambda, the weight of remembering; 0 shows no photographs and only measures."
    )
    temperature: PositiveFloat = Field(
        default=1.0, description="Softens both answers; the loss is scaled by its square."
    )
    hard: bool = Field(
        default=False,
        description="Keep the teacher's first class instead of its probabilities, as the authors' program.",
    )
    images_per_step: int = Field(default=4, ge=1, description="Photographs beside the patches of a step.")
    photo_size: int = Field(default=224, ge=8, description="Height and width photographs are shown at.")
    held_out: int = Field(
        default=64, ge=0, description="Photographs that are never learnt from: `2D memory kept` is measured on them."
    )
    teacher_weights: str | None = Field(
        default=None, description="File with the teacher's weights, its head included; `weights` if not set."
    )

    def _supervised(self, model: "nn.Module", task: Task) -> "nn.Module":
        from dimlift.methods.image_replay.method import Retrospect

        return volume_method(
            model,
            task,
            Retrospect,
            retention=self.retention,
            temperature=self.temperature,
            hard=self.hard,
            **self._learning(),
        )

    def prepare(
        self,
        method: Any,
        samples: "Sequence[Sample]",
        cache: Path,
        progress: Progress = silent,
        later: int = 0,
    ) -> "tuple[float, list[list[list[Tensor]]] | None]":
        """Open the teacher, and ask what the student remembers before it learns anything."""
        from dimlift.data.io.images import split_pictures, whole_picture
        from dimlift.methods.teachers.teacher import open_teacher

        weights = self.teacher_weights or self.weights
        teacher = open_teacher(self.network, pretrained=weights is None, weights=weights)
        asked = split_pictures(self._pictures(), self.held_out)[1]
        method.remember(teacher, [whole_picture(path, self.photo_size) for path in asked.paths])
        return 0.0, None

    def beside(self, draw: "Callable[[int], Batch]", seed: int) -> "Callable[[int], Batch]":
        """Photographs beside the patches, unless nothing is to be remembered."""
        from dimlift.batch import PairedBatch
        from dimlift.data.io.images import PictureSampler, split_pictures

        if not self.retention:
            return draw
        photos = PictureSampler(split_pictures(self._pictures(), self.held_out)[0], self.photo_size, seed=seed)
        return lambda step: PairedBatch(draw(step), photos.batch(step, self.images_per_step))  # type: ignore[arg-type]

    def without_names(self) -> dict[str, Any]:
        """The photographs count by name and size, wherever they lie."""
        pictures, home = self._pictures(), Path(self.photos)
        told = repr([(str(path.relative_to(home)), path.stat().st_size) for path in pictures.paths])
        return {**super().without_names(), "photos": hashlib.sha256(told.encode()).hexdigest()}

    def _pictures(self) -> "Pictures":
        from dimlift.data.io.images import find_pictures

        return find_pictures(self.photos)


class RetrospectArm(Remembering, LiftedArm):
    """The `lifted` arm, reminded of photographs."""

    method: Literal["retrospect"] = Field(  # type: ignore[assignment]
        default="retrospect", description="2D network lifted to 3D that keeps its answers to photographs."
    )

    def build(self, task: Task, *, fresh: bool = True) -> "nn.Module":
        """A lifted network; the teacher is opened before the first step and not needed after the last.

        Raises:
            ConfigError: for a network without a head for pictures.
        """
        if self.network.startswith("smp:"):
            raise ConfigError(f"{self.method!r} needs a network that classifies pictures, {self.network} does not")
        return super().build(task, fresh=fresh)


class RetrospectSimple3DArm(Remembering, Simple3DArm):
    """Simple3D-Former whole: voxel tokens, and photographs beside them."""

    published: ClassVar[dict[str, dict[str, Any]]] = {"paper": PAPER | REMINDED}

    method: Literal["simple3d_retrospect"] = Field(  # type: ignore[assignment]
        default="simple3d_retrospect", description="`simple3d` that keeps its network's answers to photographs."
    )
