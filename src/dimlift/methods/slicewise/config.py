"""Configuration of slice-by-slice networks and of the published systems of this kind."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from dimlift.config.method_config import TaskSpec
from dimlift.config.sections import PresetMixin
from dimlift.methods.lifted.config import MultiSequenceConfig
from dimlift.methods.method import Method

PRESETS: dict[str, dict[str, Any]] = {
    "none": {},
    "transunet": {
        "network": "timm:vit_base_r50_s16_224.orig_in21k",
        "decoder": "cascade",
        "decoder_channels": 256,
        "image_size": 224,
    },
    "swin_unet": {
        "network": "timm:swin_tiny_patch4_window7_224.ms_in1k",
        "decoder": "swin",
        "decoder_channels": 96,
        "image_size": 224,
    },
}
"""Encoder and decoder of each published system; its training is described in docs/methods.md."""


class SlicewiseConfig(PresetMixin, MultiSequenceConfig):
    """2D network and 2D decoder on every slice; no information passes between slices."""

    presets: ClassVar[dict[str, dict[str, Any]]] = PRESETS

    method: Literal["slicewise"] = Field(
        default="slicewise", description="2D network slice by slice, with a 2D decoder."
    )
    preset: Literal["none", "transunet", "swin_unet"] = Field(
        default="none",
        description="Published system whose settings are the defaults of the other keys: `transunet` (ResNet-50 and "
        "ViT-B/16, cascaded upsampler) or `swin_unet` (Swin-T, Swin decoder).",
    )

    def build(self, task: TaskSpec, *, load_pretrained: bool = True) -> Method[Any]:
        """Build a lifted network without depth mixing."""
        from dimlift.lifting.depth_plan import DepthPlan
        from dimlift.methods.slicewise.method import slice_by_slice

        encoder = self._build_encoder(task, DepthPlan(kernel=1), load_pretrained)
        if task.kind != "segmentation":
            return self._classification_method(encoder, task)
        return slice_by_slice(
            encoder,
            task.num_classes,
            decoder=self._build_decoder(encoder, task, 1),
            gradient_checkpointing=task.gradient_checkpointing,
            **self._training_options(),
        )
