"""Configuration of TransSeg."""

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from dimlift.config.method_config import TaskSpec
from dimlift.config.sections import PaperPreset
from dimlift.errors import UnknownNameError
from dimlift.inflation.profiles import PROFILES, parse_profile
from dimlift.methods.lifted.config import DecoderConfig
from dimlift.methods.lifted.decoder_choice import DecoderName, decoder_class
from dimlift.methods.method import Method

PAPER: dict[str, Any] = {
    "network": "timm:beit_base_patch16_224.in22k_ft_in22k",
    "out_indices": [3, 5, 7, 11],
    "decoder": "upernet",
    "decoder_channels": 768,
    "window": 5,
    "inflation": "centre",
    "predict": "centre",
    "windows_per_patch": 1,
    "loss": "dice_focal",
    "lr": 3e-5,
}
"""Published settings of the method; those of the training loop are in examples/transseg.yaml."""


class TransSegConfig(PaperPreset, DecoderConfig):
    """TransSeg: the first layer reads a window of slices, the centre slice is predicted."""

    supports_gradient_checkpointing: ClassVar[bool] = True

    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": PAPER}

    method: Literal["transseg"] = Field(
        default="transseg", description="2D network whose first layer reads a window of slices."
    )
    window: int = Field(default=5, ge=1, description="Slices per window, an odd number.")
    inflation: str = Field(
        default="centre",
        description="How the 2D kernel of the first layer is distributed over the window: any depth profile of "
        "`plan.inflation`.",
    )
    predict: Literal["centre", "all"] = Field(
        default="centre",
        description="A window predicts its centre slice, or all its slices, averaged over overlapping windows.",
    )
    windows_per_patch: int = Field(
        default=8,
        ge=1,
        description="Windows per training patch, whose depth is then `window + windows_per_patch - 1`, whatever "
        "`training.patch_size` is; 1 in the paper, with larger batches.",
    )
    decoder: DecoderName = Field(default="upernet", description="Decoder, in 2D: `upernet`, or any other decoder.")
    loss: Literal["dice_ce", "dice_focal"] = Field(
        default="dice_ce", description="Dice plus cross-entropy, or Dice plus focal loss (gamma 2) as in the paper."
    )

    @field_validator("inflation")
    @classmethod
    def _known_profile(cls, inflation: str) -> str:
        if parse_profile(inflation) is None:
            raise ValueError(str(UnknownNameError("inflation", inflation, [*PROFILES, "gaussian:SIGMA"])))
        return inflation

    @field_validator("window")
    @classmethod
    def _odd(cls, window: int) -> int:
        if window % 2 == 0:
            raise ValueError(f"a window of {window} slices has no centre slice; use an odd number")
        return window

    def training_patch_size(self, size: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return the patch size with the depth that the windows of a patch span."""
        return (self.window + self.windows_per_patch - 1, *size[1:])

    def build(self, task: TaskSpec, *, load_pretrained: bool = True) -> Method[Any]:
        """Build a 2D network on windows of slices."""
        from dimlift.losses.segmentation import DiceCELoss
        from dimlift.methods.transseg.method import TransSeg
        from dimlift.models.slice_window_segmenter import SliceWindowSegmenter
        from dimlift.models.tubelets import tubelet_encoder

        self.require_segmentation(task)
        encoder = tubelet_encoder(
            self.network,
            self.window,
            in_chans=task.in_channels,
            inflation=self.inflation,
            certify=load_pretrained,
            **self._backbone_options(load_pretrained),
        )
        decoder = decoder_class(self.decoder)(
            encoder.channels,
            [(1, *stride[1:]) for stride in encoder.strides],  # maps of a window have a single slice
            task.num_classes * (self.window if self.predict == "all" else 1),
            image_channels=task.in_channels if self.image_skip else 0,
            decoder_channels=self.decoder_channels,
            depth_kernel=1,
            starts=encoder.starts,
            gradient_checkpointing=task.gradient_checkpointing,
        )
        model = SliceWindowSegmenter(
            encoder,
            decoder,
            task.num_classes,
            predict=self.predict,
            gradient_checkpointing=task.gradient_checkpointing,
        )
        criterion = DiceCELoss(focal=2.0 if self.loss == "dice_focal" else 0.0)
        return TransSeg(model, criterion=criterion, **self._training_options())
