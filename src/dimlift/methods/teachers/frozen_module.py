"""A network that is asked and never trained: always in eval mode, without gradient, in no optimiser or checkpoint."""

import hashlib
from typing import Any, Self

import torch
from torch import Tensor, nn


class Frozen:
    """Holds a network outside PyTorch's module tree, so that no `train()`, `parameters()` or `state_dict()` finds it.

    Not an `nn.Module` on purpose. A copy of the method that holds it shares it: what never changes need not be copied.

    Args:
        network: taken over as it is; hand in a copy if it is used elsewhere.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval().requires_grad_(False)

    def __call__(self, *inputs: Tensor) -> Any:
        """The network's answer, with no graph behind it."""
        self.network.eval()  # whoever holds the network may have woken it
        with torch.no_grad():
            return self.network(*inputs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def to(self, device: torch.device | str) -> Self:
        """Move the network."""
        self.network.to(device)
        return self

    def digest(self) -> str:
        """sha256 of class, names and values of all weights: two networks with the same digest answer the same."""
        found = hashlib.sha256(type(self.network).__qualname__.encode())
        for name, value in sorted(self.network.state_dict().items()):
            array = value.detach().cpu().contiguous()
            found.update(f"{name}{tuple(array.shape)}{array.dtype}".encode())
            found.update(array.view(torch.uint8).numpy().tobytes() if array.dim() else array.numpy().tobytes())
        return found.hexdigest()
