"""Supervised training of volume networks: segmentation, classification and regression."""

from collections.abc import Callable, Sequence
from typing import Any, Self, cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.batch import VolumeBatch
from dimlift.config.method_config import TaskSpec
from dimlift.data.case import TaskType
from dimlift.errors import ConfigError, UnknownNameError
from dimlift.losses.segmentation import DiceCELoss
from dimlift.losses.volume import classification_loss, regression_loss
from dimlift.methods.method import Method, ParamGroup
from dimlift.methods.supervised.encoder_layers import freeze_layers, param_groups_layer_decay


class Supervised(Method[VolumeBatch]):
    """Supervised training of a network.

    Args:
        model: (B, C, D, H, W) -> logits. A submodule `encoder` can have a learning rate of its own and be frozen.
        task: "segmentation", "classification" or "regression".
        criterion: segmentation loss of (logits, label); Dice plus cross-entropy if None.
        label_smoothing: probability mass spread over all classes in a classification.
        class_weights: weight of each class in a classification; equal weights if None.
        target_mean: mean of the targets of a regression. The network predicts (target - mean) / std, and `forward`
            returns targets in their own unit.
        target_std: standard deviation of the targets.
        encoder_lr_scale: learning rate of the encoder, as a fraction of the rest's.
        layer_decay: factor of the learning rate from each encoder layer to the one before it.
        encoder_warmup_fraction: fraction of the budget over which the encoder's learning rate rises.
        freeze_encoder_fraction: fraction of the budget during which the encoder is frozen, batch-norm statistics
            included; 1 freezes it for the whole run.
        num_frozen_layers: number of encoder layers, stem first, that stay frozen.

    Raises:
        UnknownNameError: for an unknown task.
        ConfigError: if a model without encoder is to be frozen, or more layers than it has.
    """

    class_weights: Tensor | None
    target_mean: Tensor
    target_std: Tensor

    def __init__(
        self,
        model: nn.Module,
        task: TaskType = "segmentation",
        *,
        criterion: nn.Module | None = None,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        target_mean: float = 0.0,
        target_std: float = 1.0,
        encoder_lr_scale: float = 1.0,
        layer_decay: float = 1.0,
        encoder_warmup_fraction: float = 0.0,
        freeze_encoder_fraction: float = 0.0,
        num_frozen_layers: int = 0,
    ) -> None:
        super().__init__()
        if task not in get_args(TaskType):
            raise UnknownNameError("task", task, get_args(TaskType))
        freezes = freeze_encoder_fraction or num_frozen_layers
        if freezes and not isinstance(getattr(model, "encoder", None), nn.Module):
            option = f"{freeze_encoder_fraction=}" if freeze_encoder_fraction else f"{num_frozen_layers=}"
            raise ConfigError(f"{option}, but {type(model).__name__} has no encoder; set it to 0")
        self.model, self.task = model, task
        self.criterion = criterion or DiceCELoss()
        self.label_smoothing = label_smoothing
        weights = None if class_weights is None else torch.tensor([float(weight) for weight in class_weights])
        self.register_buffer("class_weights", weights, persistent=False)  # a training setting, not part of the weights
        self.encoder_lr_scale, self.layer_decay = encoder_lr_scale, layer_decay
        self.encoder_warmup_fraction = encoder_warmup_fraction
        self.freeze_encoder_fraction = freeze_encoder_fraction
        self.num_frozen_layers, self.encoder_frozen = num_frozen_layers, False
        self._frozen_modules = freeze_layers(self._encoder, num_frozen_layers) if num_frozen_layers else []
        self.register_buffer("target_mean", torch.tensor(float(target_mean)))
        self.register_buffer("target_std", torch.tensor(float(target_std)))
        self.on_progress(0.0)

    def forward(self, image: Float[Tensor, "batch _ _ _ _"], features: Tensor | None = None) -> Tensor:
        """Return logits (B, K, D, H, W) or (B, K); for a regression targets in their own unit, (B, 1)."""
        output = self.model(image)
        if self.task == "regression":
            return output * self.target_std + self.target_mean
        return output

    def loss(self, batch: VolumeBatch) -> Float[Tensor, ""]:
        """Return Dice plus cross-entropy, cross-entropy, or the Huber loss of standardised targets."""
        return self.output_loss(self.model(batch.image), batch.label)

    def output_loss(self, output: Tensor, label: Tensor) -> Float[Tensor, ""]:
        """Return the loss of outputs of the network."""
        if self.task == "segmentation":
            return self.criterion(output, label)
        if self.task == "classification":
            return classification_loss(output, label, self.label_smoothing, self.class_weights)
        return regression_loss(output, (label - self.target_mean) / self.target_std)

    def param_groups(self, lr: float) -> list[ParamGroup]:
        """Return the optimizer groups; they include a frozen encoder, which gets no gradient until it is unfrozen."""
        groups = param_groups_layer_decay(
            self.model, lr, encoder_lr_scale=self.encoder_lr_scale, layer_decay=self.layer_decay
        )
        if not self.encoder_warmup_fraction:
            return groups
        warmup = {"warmup_fraction": self.encoder_warmup_fraction}
        return [group | warmup if group["name"].startswith("encoder") else group for group in groups]

    def on_progress(self, progress: float) -> None:
        """Freeze the encoder during the first fraction of the budget, then unfreeze it."""
        freeze = self.freeze_encoder_fraction > 0 and (
            progress < self.freeze_encoder_fraction or self.freeze_encoder_fraction >= 1
        )
        if freeze == self.encoder_frozen:
            return
        self.encoder_frozen = freeze
        self._encoder.requires_grad_(not freeze)
        if self.num_frozen_layers:
            freeze_layers(self._encoder, self.num_frozen_layers)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set training mode everywhere except in frozen layers, whose batch norms stay in eval mode."""
        super().train(mode)
        if self.encoder_frozen:
            self._encoder.eval()
        for module in self._frozen_modules:
            module.eval()
        return self

    @property
    def _encoder(self) -> nn.Module:
        return cast(nn.Module, self.model.encoder)


def supervised_method(
    model: nn.Module, task: TaskSpec, method: Callable[..., Supervised] = Supervised, **options: Any
) -> Supervised:
    """Return a method that trains `model`, (B, C, D, H, W) -> logits, on the labels of a task.

    Args:
        model: the network.
        task: kind of the task, class weights and target statistics.
        method: `Supervised` or a subclass.
        options: further keyword arguments of `method`.
    """
    return method(
        model,
        task.kind,
        class_weights=task.class_weights,
        target_mean=task.target_mean,
        target_std=task.target_std,
        **options,
    )
