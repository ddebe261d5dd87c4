"""A 2D network and a 2D decoder on every slice, and the published systems that are just that."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from dimlift.config.method_config import Task
from dimlift.config.sections import WithPresets
from dimlift.methods.lifted.config import WithSequences

if TYPE_CHECKING:
    from torch import nn

PRESETS: dict[str, dict[str, Any]] = {
    "none": {},
    "transunet": {
        "network": "timm:vit_base_r50_s16_224.orig_in21k",
        "decoder": "cascade",
        "width": 256,
        "image_size": 224,
    },
    "swin_unet": {
        "network": "timm:swin_tiny_patch4_window7_224.ms_in1k",
        "decoder": "swin",
        "width": 96,
        "image_size": 224,
    },
}
"""Encoder and decoder of each system; how the authors train is in docs/methods.md."""


class SlicesArm(WithPresets, WithSequences):
    """The 2D network slice by slice: no slice sees another."""

    published: ClassVar[dict[str, dict[str, Any]]] = PRESETS

    method: Literal["slices"] = Field(default="slices", description="2D network slice by slice, with a 2D decoder.")
    preset: Literal["none", "transunet", "swin_unet"] = Field(
        default="none",
        description="A published system, wherever a key is not given: `transunet` (ResNet-50 and ViT-B/16, cascaded "
        "upsampler) or `swin_unet` (Swin-T, Swin decoder).",
    )

    def build(self, task: Task, *, fresh: bool = True) -> "nn.Module":
        """A lifted network in which no layer talks."""
        from dimlift.lifting.depth_plan import DepthPlan
        from dimlift.methods.slicewise.method import slice_by_slice

        encoder = self._encoder(task, DepthPlan(kernel=1), fresh)
        if task.kind != "segmentation":
            return self._volume_method(encoder, task)
        return slice_by_slice(
            encoder,
            task.classes,
            decoder=self._decoder(encoder, task, 1),
            gradient_checkpointing=task.gradient_checkpointing,
            **self._learning(),
        )
