"""Medical Transformer's pretraining: foresee hidden slices of volumes without labels."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from dimlift.config.pretraining_config import Pool, Pretraining
from dimlift.config.sections import Published
from dimlift.progress import Progress, silent

if TYPE_CHECKING:
    from torch import nn

    from dimlift.batch import Batch

PAPER: dict[str, Any] = {"ratio": 0.15, "target": "own"}
"""As in BERT, from memory: neither number is known to us from the paper."""


class MedicalTransformerPretraining(Published, Pretraining):
    """Hide slices of each plane, and foresee the 2D network's vectors of them from the others."""

    published: ClassVar[dict[str, dict[str, Any]]] = {"paper": PAPER}

    method: Literal["medical_transformer"] = Field(
        default="medical_transformer", description="Foresee hidden slices; the student is `medical_transformer` too."
    )
    preset: Literal["none", "paper"] = Field(
        default="none", description="`paper` sets what is told of the method, wherever a key is not given."
    )
    ratio: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.15, description="Share of the slices of each plane that are hidden."
    )
    target: Literal["own", "frozen"] = Field(
        default="frozen",
        description="`frozen` keeps the 2D network as it is; `own` lets it learn, its own vectors of the same step, "
        "without gradient, being the target.",
    )

    def build(self, student: Any, pool: Pool) -> "nn.Module":
        """The student's encoder and a prediction."""
        from dimlift.methods.medical_transformer.method import MaskedSlices

        return MaskedSlices(student, ratio=self.ratio, target=self.target)

    def batches(self, method: Any, pool: Pool, progress: Progress = silent) -> "tuple[float, Callable[[int], Batch]]":
        """Patches of volumes, without their labels."""
        sampler, size = pool.patches(), pool.training.batch_size
        return 0.0, lambda step: sampler.batch(step, size)
