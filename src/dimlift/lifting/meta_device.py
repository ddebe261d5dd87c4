"""Run a lifted network on torch's meta device: shapes without memory or arithmetic."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


def run_on_meta(lifted: nn.Module, shape: tuple[int, ...]) -> Any:
    """Return the network's output for an input of this shape, on the meta device."""
    dtype = next((p.dtype for p in lifted.parameters()), torch.float32)
    with torch.no_grad(), meta_tensors(lifted):
        return lifted(torch.empty(shape, device="meta", dtype=dtype))


@contextmanager
def meta_tensors(network: nn.Module) -> Iterator[None]:
    """Replace, while active, parameters and buffers by meta tensors. Shared tensors and modules stay shared."""
    holders = [tensors for module in network.modules() for tensors in (module._parameters, module._buffers)]
    originals: list[dict[str, Any]] = [dict(tensors) for tensors in holders]
    replacements: dict[int, Any] = {}
    try:
        for tensors in holders:
            for name, tensor in tensors.items():
                if tensor is not None:
                    meta = replacements.setdefault(id(tensor), tensor.detach().to("meta"))
                    tensors[name] = nn.Parameter(meta, False) if isinstance(tensor, nn.Parameter) else meta
        yield
    finally:
        for tensors, original in zip(holders, originals, strict=True):
            tensors.update(original)
