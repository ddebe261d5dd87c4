"""A 2D network and a decoder: its slices talk as the depth plan says, or not at all."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from dimlift.experiments.arms.arm import Arm, PlanSection, Task
from dimlift.experiments.arms.decoders import DecoderName, build_decoder
from dimlift.experiments.sections import PositiveFloat, Share

if TYPE_CHECKING:
    from torch import nn


class FromTwoDimensions(Arm):
    """What all arms around a 2D network share."""

    network: str = Field(
        default="packaged:efficientnet_lite0", description="2D network, `SOURCE:NAME`, for example `timm:resnet18`."
    )
    pretrained: bool = Field(
        default=True, description="Start from the network's pretrained weights; false starts from random ones."
    )
    weights: str | None = Field(default=None, description="File with weights of the 2D network, instead of its own.")
    encoder_scale: PositiveFloat = Field(
        default=1.0, description="Learning rate of the 2D network as a share of the arm's."
    )
    layer_decay: PositiveFloat = Field(
        default=1.0, description="Factor of the rate from each layer of the 2D network to the one before."
    )
    freeze_encoder_until: Share = Field(
        default=0.0, description="Share of the budget during which the 2D network stays as it is."
    )

    def _start(self, fresh: bool) -> dict[str, Any]:
        """Where first weights come from; a file takes the place of the source's own, which need not be here then."""
        return {
            "pretrained": self.pretrained and fresh and self.weights is None,
            "weights": self.weights if fresh else None,
        }

    def _learning(self) -> dict[str, Any]:
        return {
            "encoder_scale": self.encoder_scale,
            "layer_decay": self.layer_decay,
            "freeze_encoder_until": self.freeze_encoder_until,
        }


class WithDecoder(FromTwoDimensions):
    """What arms share whose 2D network hands maps to a decoder."""

    image_size: int | None = Field(default=None, ge=1, description="Slice size of networks that want a fixed one.")
    maps: tuple[int, ...] | None = Field(
        default=None,
        description="Stages or blocks of the 2D network whose maps the decoder reads, 0 is the first; the source's own "
        "choice if not set. For a vision transformer of 12 blocks: `[2, 5, 8, 11]`.",
    )
    decoder: DecoderName = Field(
        default="light",
        description="What turns maps into an answer: `light` (a feature pyramid), `upernet`, `unetr`, `mlp` "
        "(SegFormer's).",
    )
    width: int = Field(default=64, ge=1, description="Channels of the decoder.")
    image_path: bool = Field(
        default=True,
        description="Let a `light` or `unetr` decoder see the raw volume; `upernet` and `mlp` read maps only.",
    )

    def _encoder(self, task: Task, plan: Any, fresh: bool) -> "nn.Module":
        from dimlift.lifting.network import lift

        options: dict[str, Any] = {} if self.maps is None else {"out_indices": self.maps}
        return lift(
            self.network,
            plan,
            in_channels=task.in_channels,
            **self._start(fresh),
            image_size=self.image_size,
            features_only=True,
            certify=fresh,
            **options,
        )

    def _decoder(self, encoder: Any, task: Task, depth_kernel: int) -> "nn.Module":
        return build_decoder(
            self.decoder,
            encoder.channels,
            encoder.strides,
            task.classes,
            width=self.width,
            image_channels=encoder.in_channels if self.image_path else 0,
            depth_kernel=depth_kernel,
            gradient_checkpointing=task.gradient_checkpointing,
        )

    def _volume_method(self, encoder: "nn.Module", task: Task) -> "nn.Module":
        """One answer for a whole volume."""
        from dimlift.methods.supervised import Supervised
        from dimlift.models.classifier import Classifier

        return Supervised(
            Classifier(encoder, task.classes, gradient_checkpointing=task.gradient_checkpointing),
            task.kind,
            target_mean=task.target_mean,
            target_deviation=task.target_deviation,
            **self._learning(),
        )


class SlicesArm(WithDecoder):
    """The 2D network slice by slice: no slice sees another."""

    method: Literal["slices"] = Field(default="slices", description="2D network slice by slice, with a 2D decoder.")

    def build(self, task: Task, *, fresh: bool = True) -> "nn.Module":
        """A lifted network in which no layer talks."""
        from dimlift.lifting.plan import DepthPlan
        from dimlift.methods.slices import slice_by_slice

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


class LiftedArm(WithDecoder):
    """The 2D network lifted to 3D, with a 3D decoder."""

    method: Literal["lifted"] = Field(default="lifted", description="2D network lifted to 3D, with a 3D decoder.")
    plan: PlanSection = Field(default=PlanSection(), description="How the 2D network is lifted.")

    def build(self, task: Task, *, fresh: bool = True) -> "nn.Module":
        """A lifted network whose slices talk."""
        from dimlift.methods.supervised import Supervised
        from dimlift.models.segmenter import Segmenter

        encoder = self._encoder(task, self.plan.depth_plan(), fresh)
        if task.kind != "segmentation":
            return self._volume_method(encoder, task)
        model = Segmenter(
            encoder,
            task.classes,
            decoder=self._decoder(encoder, task, 3),
            gradient_checkpointing=task.gradient_checkpointing,
        )
        return Supervised(model, **self._learning())
