"""Configuration of Medical Transformer pretraining."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from dimlift.config.pretraining_config import Pretraining, PretrainingData
from dimlift.config.sections import PaperPreset
from dimlift.progress import Progress, no_progress

if TYPE_CHECKING:
    from dimlift.batch import Batch
    from dimlift.methods.method import Method

PRETRAINING_PRESET: dict[str, Any] = {"mask_ratio": 0.15, "target": "own"}
"""As in BERT; neither value is known from the paper."""


class MedicalTransformerPretraining(PaperPreset, Pretraining):
    """Mask slices of each plane, and predict the 2D network's vectors of them from the others."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": PRETRAINING_PRESET}

    method: Literal["medical_transformer"] = Field(
        default="medical_transformer", description="Predict masked slices; the arm is `medical_transformer` too."
    )
    preset: Literal["none", "paper"] = Field(
        default="none", description="`paper` uses what is known of the method as defaults of the other keys."
    )
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.15, description="Fraction of the slices of each plane that is masked."
    )
    target: Literal["own", "frozen"] = Field(
        default="frozen",
        description="`frozen` freezes the 2D network; `own` trains it, its own vectors of the same step, without "
        "gradient, being the target.",
    )

    def build(self, model: Any, data: PretrainingData) -> "Method[Any]":
        """Build the encoder with a predictor."""
        from dimlift.methods.medical_transformer.method import MaskedSlicePrediction

        return MaskedSlicePrediction(model, mask_ratio=self.mask_ratio, target=self.target)

    def batches(
        self, method: Any, data: PretrainingData, progress: Progress = no_progress
    ) -> "tuple[float, Callable[[int], Batch]]":
        """Return batches of patches, without labels."""
        sampler, size = data.patch_sampler(), data.training.batch_size
        return 0.0, lambda step: sampler.batch(step, size)
