"""Configuration of lifted 2D networks and the bases shared with other methods around a 2D network."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from dimlift.config.method_config import MethodConfig, TaskSpec
from dimlift.config.plan_section import PlanSection
from dimlift.config.sections import Fraction, PositiveFloat
from dimlift.errors import ConfigError
from dimlift.methods.lifted.decoder_choice import DecoderName, decoder_class
from dimlift.methods.supervised.volumes import supervised_method

if TYPE_CHECKING:
    from torch import nn

    from dimlift.lifting.depth_plan import DepthPlan
    from dimlift.methods.method import Method


class Backbone2DConfig(MethodConfig):
    """Base of methods around a 2D network."""

    network: str = Field(
        default="packaged:efficientnet_lite0", description="2D network, `SOURCE:NAME`, for example `timm:resnet18`."
    )
    pretrained: bool = Field(
        default=True, description="Load the pretrained weights of the network; false starts from random weights."
    )
    weights: str | None = Field(default=None, description="Weights file of the 2D network, instead of its own.")
    encoder_lr_scale: PositiveFloat = Field(
        default=1.0, description="Learning rate of the 2D network, as a fraction of the arm's."
    )
    layer_decay: PositiveFloat = Field(
        default=1.0, description="Factor of the learning rate from each layer of the 2D network to the one before it."
    )
    freeze_encoder_fraction: Fraction = Field(
        default=0.0, description="Fraction of the budget during which the 2D network is frozen."
    )
    encoder_warmup_fraction: Fraction = Field(
        default=0.0,
        description="Fraction of the budget over which the learning rate of the 2D network rises, in addition to "
        "`training.warmup_fraction`.",
    )
    num_frozen_layers: int = Field(
        default=0,
        ge=0,
        description="First layers of the 2D network that stay frozen; 1 is the stem, 2 the stem and the first block.",
    )

    def _weight_options(self, load_pretrained: bool) -> dict[str, Any]:
        """Return the weight arguments of `lift`; a weights file replaces the weights of the source."""
        return {
            "pretrained": self.pretrained and load_pretrained and self.weights is None,
            "weights": self.weights if load_pretrained else None,
        }

    def _make_method(self, model: "nn.Module", task: TaskSpec) -> "Method[Any]":
        return supervised_method(model, task, **self._training_options())

    def _training_options(self) -> dict[str, Any]:
        return {
            "encoder_lr_scale": self.encoder_lr_scale,
            "layer_decay": self.layer_decay,
            "encoder_warmup_fraction": self.encoder_warmup_fraction,
            "freeze_encoder_fraction": self.freeze_encoder_fraction,
            "num_frozen_layers": self.num_frozen_layers,
        }


class DecoderConfig(Backbone2DConfig):
    """Base of methods with a decoder behind the feature maps of a 2D network."""

    supports_gradient_checkpointing: ClassVar[bool] = True

    image_size: int | None = Field(default=None, ge=1, description="Slice size of networks with a fixed input size.")
    out_indices: tuple[int, ...] | None = Field(
        default=None,
        description="Stages or blocks of the 2D network whose maps the decoder reads, 0 is the first; the default of "
        "the source if not set. For a vision transformer of 12 blocks: `[2, 5, 8, 11]`.",
    )
    stem_stride: int | None = Field(
        default=None,
        ge=1,
        description="Finer features: stride of the network's first layer in voxels; its own if not set.",
    )
    num_stages: int | None = Field(
        default=None,
        ge=1,
        description="Finer features: number of maps to keep, finest first, without the stages behind them; all if not "
        "set.",
    )
    upsample: int = Field(
        default=1, ge=1, description="Finer features: factor by which height and width of the slices are upsampled."
    )
    decoder: DecoderName = Field(
        default="fpn",
        description="Decoder: `fpn` (feature pyramid), `upernet`, `unetr`, `mlp` (SegFormer), `upernext` "
        "(3D-ConvNeXt), `cascade` (TransUNet), `swin` (Swin-Unet).",
    )
    decoder_channels: int = Field(default=64, ge=1, description="Channels of the decoder.")
    image_skip: bool = Field(
        default=True,
        description="Finer features: a `fpn` or `unetr` decoder also reads the raw volume; other decoders do not.",
    )

    @model_validator(mode="after")
    def _one_choice_of_maps(self) -> Self:
        if self.out_indices is not None and self.num_stages is not None:
            raise ValueError("'num_stages' keeps the first maps and 'out_indices' lists them; set one of the two")
        return self

    def _backbone_options(self, load_pretrained: bool) -> dict[str, Any]:
        """Return the arguments of `lift` for weights, input size and resolution."""
        fine = {"stem_stride": self.stem_stride, "num_stages": self.num_stages, "upsample": self.upsample}
        maps = {} if self.out_indices is None else {"out_indices": self.out_indices}
        return {"image_size": self.image_size, **fine, **maps, **self._weight_options(load_pretrained)}

    def _build_encoder(self, task: TaskSpec, plan: "DepthPlan", load_pretrained: bool) -> "nn.Module":
        from dimlift.lifting.lift import lift

        return lift(
            self.network,
            plan,
            in_chans=task.in_channels,
            features_only=True,
            certify=load_pretrained,
            **self._backbone_options(load_pretrained),
        )

    def _build_decoder(self, encoder: Any, task: TaskSpec, depth_kernel: int) -> "nn.Module":
        from dimlift.models.encoder_protocol import map_starts

        return decoder_class(self.decoder)(
            encoder.channels,
            encoder.strides,
            task.num_classes,
            decoder_channels=self.decoder_channels,
            image_channels=encoder.in_channels if self.image_skip else 0,
            depth_kernel=depth_kernel,
            starts=map_starts(encoder),
            gradient_checkpointing=task.gradient_checkpointing,
        )

    def _classification_method(self, encoder: "nn.Module", task: TaskSpec) -> "Method[Any]":
        """Return a method with one output per volume."""
        from dimlift.models.classifier import Classifier

        model = Classifier(encoder, task.num_classes, gradient_checkpointing=task.gradient_checkpointing)
        return self._make_method(model, task)

    def _task_method(self, encoder: "nn.Module", task: TaskSpec) -> "Method[Any]":
        """Return a method for the task: a classifier, or a segmentation network with a 3D decoder."""
        from dimlift.models.segmenter import Segmenter

        if task.kind != "segmentation":
            return self._classification_method(encoder, task)
        model = Segmenter(
            encoder,
            task.num_classes,
            decoder=self._build_decoder(encoder, task, 3),
            gradient_checkpointing=task.gradient_checkpointing,
        )
        return self._make_method(model, task)


class MultiSequenceConfig(DecoderConfig):
    """Base of methods with a choice of how the channels of a volume enter the 2D network."""

    sequences: Literal["channels", "shared"] = Field(
        default="channels",
        description="Channels of a volume: `channels` of one image, or `shared`: each an image of its own for the same "
        "network, with features fused over the channels that are present.",
    )
    fusion: Literal["mean", "max"] = Field(default="mean", description="How features of `shared` sequences are fused.")

    def _build_encoder(self, task: TaskSpec, plan: "DepthPlan", load_pretrained: bool) -> "nn.Module":
        if self.sequences == "channels":
            return super()._build_encoder(task, plan, load_pretrained)
        from dimlift.models.multi_sequence import SharedSequenceEncoder

        single = super()._build_encoder(replace(task, in_channels=1), plan, load_pretrained)
        return SharedSequenceEncoder(single, task.in_channels, self.fusion)

    def _build_decoder(self, encoder: Any, task: TaskSpec, depth_kernel: int) -> "nn.Module":
        if self.sequences == "channels":
            return super()._build_decoder(encoder, task, depth_kernel)
        from dimlift.models.multi_sequence import FusedDecoder

        return FusedDecoder(super()._build_decoder(encoder.network, task, depth_kernel), self.fusion)


class LiftedConfig(MultiSequenceConfig):
    """2D network lifted to 3D, with a 3D decoder; networks of smp are lifted with their own decoder."""

    method: Literal["lifted"] = Field(default="lifted", description="2D network lifted to 3D, with a 3D decoder.")
    plan: PlanSection = Field(default=PlanSection(), description="How the 2D network is lifted.")

    def build(self, task: TaskSpec, *, load_pretrained: bool = True) -> "Method[Any]":
        """Build a lifted network with a decoder or classification head."""
        if self.network.startswith("smp:"):
            if self.sequences == "shared":
                raise ConfigError(
                    f"{self.network} is lifted with its own decoder, which does not support sequences=shared; "
                    "use sequences=channels, or a network of timm"
                )
            return self._smp_method(task, load_pretrained)
        encoder = self._build_encoder(task, self.plan.depth_plan(task.spacing), load_pretrained)
        return self._task_method(encoder, task)

    def _smp_method(self, task: TaskSpec, load_pretrained: bool) -> "Method[Any]":
        """Return a method around a 2D segmentation network that is lifted with its decoder."""
        from dimlift.lifting.lift import lift
        from dimlift.methods.supervised.volumes import Supervised
        from dimlift.models.lifted_segmenter import lifted_segmenter

        self.require_segmentation(task)
        lifted = lift(
            self.network,
            self.plan.depth_plan(task.spacing),
            in_chans=task.in_channels,
            **self._weight_options(load_pretrained),
            certify=load_pretrained,
            classes=task.num_classes,
        )
        return Supervised(lifted_segmenter(lifted), **self._training_options())
