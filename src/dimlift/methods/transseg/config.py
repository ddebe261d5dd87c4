"""TransSeg: windows of slices through the first layer of a 2D network, the centre slice predicted."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from dimlift.config.method_config import Task
from dimlift.config.sections import Published
from dimlift.methods.baselines.unets import require_segmentation
from dimlift.methods.lifted.config import WithDecoder
from dimlift.methods.lifted.decoder_choice import DecoderName, decoder_called

if TYPE_CHECKING:
    from torch import nn

PAPER: dict[str, Any] = {
    "network": "timm:beit_base_patch16_224.in22k_ft_in22k",
    "maps": [3, 5, 7, 11],
    "decoder": "upernet",
    "width": 768,
    "window": 5,
    "profile": "centre",
    "predict": "centre",
    "slices": 1,
    "loss": "dice_focal",
    "rate": 3e-5,
}
"""The published network and settings; what belongs to the training loop is in examples/transseg.yaml."""


class TransSegArm(Published, WithDecoder):
    """TransSeg: the first layer takes a window of slices, the centre slice is predicted."""

    published: ClassVar[dict[str, dict[str, Any]]] = {"paper": PAPER}

    method: Literal["transseg"] = Field(
        default="transseg", description="2D network that takes a window of slices in its first layer."
    )
    window: int = Field(default=5, ge=1, description="Slices of a window, an odd number.")
    profile: Literal["average", "centre", "gaussian"] = Field(
        default="centre", description="How the first layer's 2D kernel is shared out over the window."
    )
    predict: Literal["centre", "all"] = Field(
        default="centre", description="A window answers for its centre slice, or for all, averaged where they overlap."
    )
    slices: int = Field(
        default=8,
        ge=1,
        description="Windows in each training patch, whose depth is then `window + slices - 1` whatever "
        "`training.patch_size` says; the paper has 1 and larger batches.",
    )
    decoder: DecoderName = Field(
        default="upernet", description="What turns maps into an answer, in 2D: `upernet`, or any of the others."
    )
    loss: Literal["dice_ce", "dice_focal"] = Field(
        default="dice_ce", description="Dice plus cross-entropy, or plus the focal loss (gamma 2) of the paper."
    )

    @field_validator("window")
    @classmethod
    def _has_a_centre(cls, window: int) -> int:
        if window % 2 == 0:
            raise ValueError(f"a window of {window} slices has no centre slice; use an odd number")
        return window

    def patch_size(self, size: tuple[int, int, int]) -> tuple[int, int, int]:
        """As deep as the windows of a patch are together."""
        return (self.window + self.slices - 1, *size[1:])

    def build(self, task: Task, *, fresh: bool = True) -> "nn.Module":
        """A 2D network of windows."""
        from dimlift.losses.segmentation import DiceCrossEntropy
        from dimlift.methods.transseg.method import TransSeg
        from dimlift.models.slice_window_segmenter import WindowSegmenter
        from dimlift.models.tubelets import tubelet_encoder

        require_segmentation(self.method, task)
        encoder = tubelet_encoder(
            self.network,
            self.window,
            in_channels=task.in_channels,
            profile=self.profile,
            certify=fresh,
            **self._opening(fresh),
        )
        decoder = decoder_called(self.decoder)(
            encoder.channels,
            [(1, *stride[1:]) for stride in encoder.strides],  # what it decodes has a single slice
            task.classes * (self.window if self.predict == "all" else 1),
            image_channels=task.in_channels if self.image_path else 0,
            width=self.width,
            depth_kernel=1,
            gradient_checkpointing=task.gradient_checkpointing,
        )
        model = WindowSegmenter(
            encoder,
            decoder,
            task.classes,
            predict=self.predict,
            gradient_checkpointing=task.gradient_checkpointing,
        )
        criterion = DiceCrossEntropy(focal=2.0 if self.loss == "dice_focal" else 0.0)
        return TransSeg(model, criterion=criterion, **self._learning())
