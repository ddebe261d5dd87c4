"""Base class of methods: a network, its loss, and everything training, inference and reports need to know about it."""

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

from dimlift.errors import ConfigError

BatchT = TypeVar("BatchT", bound=tuple[Any, ...])
ParamGroup = dict[str, Any]
"""{"params": list, "lr": float, "name": str} and optionally {"warmup_fraction": float}."""


class Method(nn.Module, Generic[BatchT]):
    """A network with its loss.

    Subclasses implement `loss` and `forward`. `forward(image, features)` returns logits:
    (B, K, D, H, W) for segmentation of volumes, (B, N, K) for segmentation of points, (B, K) for one output per case.
    All other members have defaults. Nothing else about a method is used outside its folder.

    Attributes:
        feature_stride: voxels of the image per voxel of the `features` passed to `forward`, along each axis.
        reads_whole_depth: at inference `forward` receives windows that span the height and width of a training patch
            and every slice its outputs depend on, so that each slice is predicted once.
        slice_margin: number of slices on each side that an output slice depends on; None means all of them.
        caches_features: `loss` reuses outputs of a frozen network, so that batches must not be augmented.
        notes: sentences for the run record.
    """

    feature_stride: int = 1
    reads_whole_depth: bool = False
    slice_margin: int | None = None
    caches_features: bool = False
    notes: Sequence[str] = ()

    def loss(self, batch: BatchT) -> Tensor:
        """Return the loss of a batch, a scalar."""
        raise NotImplementedError

    def param_groups(self, lr: float) -> list[ParamGroup]:
        """Return the parameter groups of the optimizer; by default one group of all parameters.

        Args:
            lr: learning rate of the run.
        """
        return [{"params": list(self.parameters()), "lr": lr, "name": "model"}]

    def on_progress(self, progress: float) -> None:
        """Handle the start of a training step.

        Args:
            progress: used fraction of the budget, 0 to 1.
        """

    def report(self) -> dict[str, Any]:
        """Return entries for the run record, computed after training; key "notes" holds a list of sentences."""
        return {}

    def slice_weights(self, image: Tensor) -> Tensor | None:
        """Return the weight of each slice in the prediction of a volume (C, D, H, W); None without slice pooling."""
        return None

    def trainable_network(self) -> nn.Module:
        """Return the network that pretraining trains and that `init_from` fills; the submodule `model` by default.

        Raises:
            ConfigError: if the method has no such network.
        """
        network = self._modules.get("model")
        if network is None:
            raise ConfigError(f"{type(self).__name__} has no network that can be pretrained; choose another method")
        return network
