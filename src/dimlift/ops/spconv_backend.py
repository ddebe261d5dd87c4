"""Sparse convolution on GPUs by spconv (https://github.com/traveller59/spconv).

It uses the rulebook of `ops.sparse_conv`, so outputs and gradients are equal up to rounding.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dimlift.errors import ConfigError, UnknownNameError

Backend = Literal["automatic", "dimlift", "spconv"]

_backend: ContextVar[Backend] = ContextVar("backend", default="automatic")


@contextmanager
def sparse_backend(backend: Backend) -> Iterator[None]:
    """Select the implementation of sparse convolutions inside the block, on any device.

    "automatic", the default, uses spconv on GPUs if it is installed and supports the data type, except in PyTorch's
    deterministic mode: spconv selects kernels by their measured speed, and kernels differ in rounding.

    Raises:
        UnknownNameError: for another backend.
    """
    if backend not in get_args(Backend):
        raise UnknownNameError("backend of sparse convolutions", backend, get_args(Backend))
    before = _backend.set(backend)
    try:
        yield
    finally:
        _backend.reset(before)


def uses_spconv(features: Float[Tensor, "voxels channels"]) -> bool:
    """Return whether spconv is used for these features.

    Raises:
        ConfigError: if it is forced and does not support them.
    """
    backend = _backend.get()
    if backend == "automatic" and features.is_cuda and not torch.are_deterministic_algorithms_enabled():
        return _unsupported_reason(features) is None
    if backend == "spconv" and (reason := _unsupported_reason(features)):
        raise ConfigError(f"spconv cannot compute this sparse convolution: {reason}, or use sparse_backend('dimlift')")
    return backend == "spconv"


def spconv_conv(
    features: Float[Tensor, "voxels channels"],
    weight: Float[Tensor, "taps channels outputs"],
    pairs: Int[Tensor, "2 taps most"],
    counts: Int[Tensor, " taps"],
    outputs: int,
) -> Float[Tensor, "out outputs"]:
    """Return the features of the output voxels, with gradients by spconv.

    Args:
        features: of the input voxels.
        weight: one matrix per tap.
        pairs: rows of input and output of each tap, int32.
        counts: number of valid pairs of each tap, int32.
        outputs: number of output voxels.
    """
    from spconv.core import ConvAlgo
    from spconv.pytorch.functional import indice_conv

    kernel = weight.permute(2, 0, 1).contiguous()  # spconv's axis order
    # autocast is disabled because spconv would use float16 for it, also for bfloat16; it runs on the current device
    with torch.autocast(features.device.type, enabled=False), torch.cuda.device_of(features):
        return indice_conv(features, kernel, pairs, counts, outputs, ConvAlgo.Native)


def _unsupported_reason(features: Tensor) -> str | None:
    """Return why spconv does not support these features and what to do about it, or None."""
    devices = _spconv_devices()
    if not devices:
        return "it is not installed; pip install 'dimlift[spconv]'"
    if features.device.type not in devices:
        return "the installed version is for CPUs; install the one for your CUDA version, such as spconv-cu126"
    if features.dtype not in (torch.float32, torch.float16):
        return f"it supports float32 and float16, not {features.dtype}; convert the features"
    return None


@cache
def _spconv_devices() -> tuple[str, ...]:
    """Return the device types of the installed spconv; empty if it is not installed."""
    try:
        from spconv.cppconstants import CPU_ONLY_BUILD
    except ImportError:
        return ()
    return ("cpu",) if CPU_ONLY_BUILD else ("cpu", "cuda")
