"""Plain supervised learning of any network: a class for every voxel, or one class or number for every volume."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Self, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.batch import VolumeBatch
from dimlift.config.method_config import Task
from dimlift.errors import ConfigError, UnknownName
from dimlift.losses.segmentation import DiceCrossEntropy
from dimlift.losses.volume import classification_loss, regression_loss
from dimlift.methods.supervised.freeze import freeze_first
from dimlift.methods.supervised.param_groups import parameter_groups

TASKS = ("segmentation", "classification", "regression")


class Supervised(nn.Module):
    """Train `model` on labels.

    Args:
        model: (B, C, D, H, W) -> logits. If it has an `encoder`, that can learn at a rate of its own.
        task: "segmentation", "classification" or "regression".
        criterion: loss of (logits, label) for segmentation; Dice plus cross-entropy if None.
        label_smoothing: for classification.
        class_weights: for classification, the weight of each class; all alike if None.
        target_mean: for regression: the network answers (number - mean) / deviation, `forward` the number itself.
        target_deviation: see `target_mean`.
        encoder_scale: learning rate of the encoder as a share of the rest's.
        layer_decay: factor from each layer of the encoder to the one before it.
        encoder_warm_up: share of the budget over which the encoder's rate rises.
        freeze_encoder_until: share of the budget during which the encoder stays as it is, its batch-norm statistics
            included; 1 never lets it learn.
        freeze_layers: of the encoder, the stem first, that never learn.

    Raises:
        UnknownName: for a task there is none of.
        ConfigError: if the encoder of a model without one is to be frozen, or more layers of it than it has.
    """

    class_weights: Tensor | None
    target_mean: Tensor
    target_deviation: Tensor

    def __init__(
        self,
        model: nn.Module,
        task: Literal["segmentation", "classification", "regression"] = "segmentation",
        *,
        criterion: nn.Module | None = None,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        target_mean: float = 0.0,
        target_deviation: float = 1.0,
        encoder_scale: float = 1.0,
        layer_decay: float = 1.0,
        encoder_warm_up: float = 0.0,
        freeze_encoder_until: float = 0.0,
        freeze_layers: int = 0,
    ) -> None:
        super().__init__()
        if task not in TASKS:
            raise UnknownName("task", task, TASKS)
        if (freeze_encoder_until or freeze_layers) and not isinstance(getattr(model, "encoder", None), nn.Module):
            asked = f"{freeze_encoder_until=}" if freeze_encoder_until else f"{freeze_layers=}"
            raise ConfigError(f"{asked}, but {type(model).__name__} has no encoder; set it to 0")
        self.model, self.task = model, task
        self.criterion = criterion or DiceCrossEntropy()
        self.label_smoothing = label_smoothing
        weights = None if class_weights is None else torch.tensor([float(weight) for weight in class_weights])
        self.register_buffer("class_weights", weights, persistent=False)  # how it learns, no part of what it learnt
        self.encoder_scale, self.layer_decay, self.encoder_warm_up = encoder_scale, layer_decay, encoder_warm_up
        self.freeze_encoder_until = freeze_encoder_until
        self.freeze_layers, self.frozen = freeze_layers, False
        self._still = freeze_first(self._encoder, freeze_layers) if freeze_layers else []
        self.register_buffer("target_mean", torch.tensor(float(target_mean)))
        self.register_buffer("target_deviation", torch.tensor(float(target_deviation)))
        self.set_progress(0.0)

    def forward(self, image: Float[Tensor, "batch _ _ _ _"], features: Tensor | None = None) -> Tensor:
        """Logits, (B, K, D, H, W) or (B, K); for regression the number in its own unit, (B, 1)."""
        answer = self.model(image)
        if self.task == "regression":
            return answer * self.target_deviation + self.target_mean
        return answer

    def loss(self, batch: VolumeBatch) -> Float[Tensor, ""]:
        """Dice plus cross-entropy, cross-entropy, or the Huber loss in units of the labels' deviation."""
        return self.compare(self.model(batch.image), batch.label)

    def compare(self, answer: Tensor, label: Tensor) -> Float[Tensor, ""]:
        """The loss of the network's answers."""
        if self.task == "segmentation":
            return self.criterion(answer, label)
        if self.task == "classification":
            return classification_loss(answer, label, self.label_smoothing, self.class_weights)
        return regression_loss(answer, (label - self.target_mean) / self.target_deviation)

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """Optimiser groups; a frozen encoder is in them, it gets no gradient until it is let go."""
        groups = parameter_groups(self.model, rate, encoder_scale=self.encoder_scale, layer_decay=self.layer_decay)
        if not self.encoder_warm_up:
            return groups
        rising = {"warm_up": self.encoder_warm_up}
        return [group | rising if group["name"].startswith("encoder") else group for group in groups]

    def set_progress(self, progress: float) -> None:
        """Freeze the encoder, or let it go once its share of the budget is over."""
        freeze = self.freeze_encoder_until > 0 and (
            progress < self.freeze_encoder_until or self.freeze_encoder_until >= 1
        )
        if freeze == self.frozen:
            return
        self.frozen = freeze
        self._encoder.requires_grad_(not freeze)
        if self.freeze_layers:
            freeze_first(self._encoder, self.freeze_layers)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Training mode for everything but a frozen encoder, whose batch norm would otherwise move."""
        super().train(mode)
        if self.frozen:
            self._encoder.eval()
        for layer in self._still:
            layer.eval()
        return self

    @property
    def _encoder(self) -> nn.Module:
        return cast(nn.Module, self.model.encoder)


def volume_method(
    model: nn.Module, task: Task, kind: Callable[..., nn.Module] | None = None, **learning: Any
) -> nn.Module:
    """Train `model`, (B, C, D, H, W) -> logits, on the labels of a task.

    Args:
        kind: the method; `Supervised` if not given, or what takes the same and more.
        learning: passed on to it.
    """
    return (kind or Supervised)(
        model,
        task.kind,
        class_weights=task.class_weights,
        target_mean=task.target_mean,
        target_deviation=task.target_deviation,
        **learning,
    )
