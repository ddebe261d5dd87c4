"""A 2D network and a decoder: its slices talk as the depth plan says."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from dimlift.config.method_config import Arm, PlanSection, Task
from dimlift.config.sections import LATER, PositiveFloat, Share
from dimlift.errors import ConfigError
from dimlift.methods.lifted.decoder_choice import DecoderName, decoder_called
from dimlift.methods.supervised.volumes import volume_method

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
    encoder_warm_up: Share = Field(
        default=0.0,
        json_schema_extra=LATER,
        description="Share of the budget over which the 2D network's rate rises, beside `training.warm_up`.",
    )
    freeze_layers: int = Field(
        default=0,
        ge=0,
        description="First layers of the 2D network that never learn; 1 is the stem, 2 the stem and the first block.",
    )

    def _start(self, fresh: bool) -> dict[str, Any]:
        """Where first weights come from; a file takes the place of the source's own, which need not be here then."""
        return {
            "pretrained": self.pretrained and fresh and self.weights is None,
            "weights": self.weights if fresh else None,
        }

    def _supervised(self, model: "nn.Module", task: Task) -> "nn.Module":
        """The method that trains a network."""
        return volume_method(model, task, **self._learning())

    def _learning(self) -> dict[str, Any]:
        return {
            "encoder_scale": self.encoder_scale,
            "layer_decay": self.layer_decay,
            "encoder_warm_up": self.encoder_warm_up,
            "freeze_encoder_until": self.freeze_encoder_until,
            "freeze_layers": self.freeze_layers,
        }


class WithDecoder(FromTwoDimensions):
    """What arms share whose 2D network hands maps to a decoder."""

    image_size: int | None = Field(default=None, ge=1, description="Slice size of networks that want a fixed one.")
    maps: tuple[int, ...] | None = Field(
        default=None,
        description="Stages or blocks of the 2D network whose maps the decoder reads, 0 is the first; the source's own "
        "choice if not set. For a vision transformer of 12 blocks: `[2, 5, 8, 11]`.",
    )
    stem_stride: int | None = Field(
        default=None,
        ge=1,
        description="Fine features: step of the network's first layer in voxels; its own if not set.",
    )
    stages: int | None = Field(
        default=None,
        ge=1,
        description="Fine features: keep the first so many maps, drop the stages after; all if not set.",
    )
    enlarge: int = Field(
        default=1, ge=1, description="Fine features: show the network each slice so many times as high and wide."
    )
    decoder: DecoderName = Field(
        default="light",
        description="What turns maps into an answer: `light` (a feature pyramid), `upernet`, `unetr`, `mlp` "
        "(SegFormer's), `upernext` (3D-ConvNeXt's), `cascade` (TransUNet's), `swin` (Swin-Unet's).",
    )
    width: int = Field(default=64, ge=1, description="Channels of the decoder.")
    image_path: bool = Field(
        default=True,
        description="Fine features: let a `light` or `unetr` decoder see the raw volume; the others read maps only.",
    )

    @model_validator(mode="after")
    def _maps_are_named_once(self) -> Self:
        if self.maps is not None and self.stages is not None:
            raise ValueError("'stages' keeps the first maps and 'maps' names them one by one; give one of both")
        return self

    def _opening(self, fresh: bool) -> dict[str, Any]:
        """How the 2D network is opened, and how finely it looks at slices."""
        fine = {"stem_stride": self.stem_stride, "stages": self.stages, "enlarge": self.enlarge}
        maps = {} if self.maps is None else {"out_indices": self.maps}
        return {"image_size": self.image_size, **fine, **maps, **self._start(fresh)}

    def _encoder(self, task: Task, plan: Any, fresh: bool) -> "nn.Module":
        from dimlift.lifting.lift import lift

        return lift(
            self.network, plan, in_channels=task.in_channels, features_only=True, certify=fresh, **self._opening(fresh)
        )

    def _decoder(self, encoder: Any, task: Task, depth_kernel: int) -> "nn.Module":
        return decoder_called(self.decoder)(
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
        from dimlift.models.classifier import Classifier

        model = Classifier(encoder, task.classes, gradient_checkpointing=task.gradient_checkpointing)
        return self._supervised(model, task)

    def _method(self, encoder: "nn.Module", task: Task) -> "nn.Module":
        """One answer for a whole volume, or one for each voxel by a 3D decoder."""
        from dimlift.models.segmenter import Segmenter

        if task.kind != "segmentation":
            return self._volume_method(encoder, task)
        model = Segmenter(
            encoder,
            task.classes,
            decoder=self._decoder(encoder, task, 3),
            gradient_checkpointing=task.gradient_checkpointing,
        )
        return self._supervised(model, task)


class WithSequences(WithDecoder):
    """What arms share that take the channels of a volume either way."""

    sequences: Literal["channels", "shared"] = Field(
        default="channels",
        description="Several channels as the channels of one picture, or `shared`: each through the same network as "
        "a picture of its own, features fused over those that are there.",
    )
    fusion: Literal["mean", "max"] = Field(default="mean", description="How `shared` sequences become one.")

    def _encoder(self, task: Task, plan: Any, fresh: bool) -> "nn.Module":
        if self.sequences == "channels":
            return super()._encoder(task, plan, fresh)
        from dimlift.models.multi_sequence import SharedSequences

        return SharedSequences(
            super()._encoder(replace(task, in_channels=1), plan, fresh), task.in_channels, self.fusion
        )

    def _decoder(self, encoder: Any, task: Task, depth_kernel: int) -> "nn.Module":
        if self.sequences == "channels":
            return super()._decoder(encoder, task, depth_kernel)
        from dimlift.models.multi_sequence import FusedImage

        return FusedImage(super()._decoder(encoder.network, task, depth_kernel), self.fusion)


class LiftedArm(WithSequences):
    """The 2D network lifted to 3D, with a 3D decoder; a network of smp is lifted whole, with its own decoder."""

    method: Literal["lifted"] = Field(default="lifted", description="2D network lifted to 3D, with a 3D decoder.")
    plan: PlanSection = Field(default=PlanSection(), description="How the 2D network is lifted.")

    def build(self, task: Task, *, fresh: bool = True) -> "nn.Module":
        """A lifted network whose slices talk."""
        if self.network.startswith("smp:"):
            if self.sequences == "shared":
                raise ConfigError(
                    f"{self.network} is lifted with its own decoder and takes no shared sequences; "
                    "use sequences=channels, or a network of timm"
                )
            return self._whole(task, fresh)
        return self._method(self._encoder(task, self.plan.depth_plan(task.spacing), fresh), task)

    def _whole(self, task: Task, fresh: bool) -> "nn.Module":
        """A 2D segmentation network lifted whole, its own decoder included."""
        from dimlift.lifting.lift import lift
        from dimlift.methods.baselines.unets import require_segmentation
        from dimlift.methods.supervised.volumes import Supervised
        from dimlift.models.lifted_segmenter import whole_segmenter

        require_segmentation(self.method, task)
        lifted = lift(
            self.network,
            self.plan.depth_plan(task.spacing),
            in_channels=task.in_channels,
            **self._start(fresh),
            certify=fresh,
            classes=task.classes,
        )
        return Supervised(whole_segmenter(lifted), **self._learning())
