"""A frozen network: always in eval mode, without gradients, excluded from optimizer and state_dict."""

import hashlib
from typing import Any, Self

import torch
from torch import Tensor, nn


class FrozenModule:
    """Holder of a network outside PyTorch's module tree: `train()`, `parameters()` and `state_dict()` skip it.

    Deliberately not an `nn.Module`. Deep copies of the method that owns it share it, because it never changes.

    Args:
        network: used as it is, without a copy; pass a copy if the network is used elsewhere.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval().requires_grad_(False)

    def __call__(self, *inputs: Tensor) -> Any:
        """Return the network's output, without a graph."""
        self.network.eval()  # another owner of the network may have switched it to training mode
        with torch.no_grad():
            return self.network(*inputs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def to(self, device: torch.device | str) -> Self:
        """Move the network to a device."""
        self.network.to(device)
        return self

    def digest(self) -> str:
        """Return the sha256 of class, names and values of all weights; equal digests mean equal outputs."""
        digest = hashlib.sha256(type(self.network).__qualname__.encode())
        for name, value in sorted(self.network.state_dict().items()):
            array = value.detach().cpu().contiguous()
            digest.update(f"{name}{tuple(array.shape)}{array.dtype}".encode())
            digest.update(array.view(torch.uint8).numpy().tobytes() if array.dim() else array.numpy().tobytes())
        return digest.hexdigest()
