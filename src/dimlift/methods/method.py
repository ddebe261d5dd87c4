"""What the training loop may ask of a method, whichever it is."""

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from dimlift.batch import VolumeBatch


@runtime_checkable
class Method(Protocol):
    """An `nn.Module` that can be trained by the one loop there is."""

    def loss(self, batch: VolumeBatch) -> Tensor:
        """What is minimised, a single number."""
        ...

    def forward(self, image: Tensor, features: Tensor | None = None) -> Tensor:
        """Logits of a batch of patches: (B, K, D, H, W) for segmentation, (B, K) for one answer per volume."""
        ...

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """Groups for the optimiser: {"params": list, "lr": rate of the group, "name": shown in messages}."""
        ...

    def set_progress(self, progress: float) -> None:
        """Told before each step which share of the budget has been used, 0 to 1."""
        ...
