"""Sparse convolution computed by spconv (https://github.com/traveller59/spconv), which is made for GPUs.

It follows the rulebook it is given: voxels, weights and their gradients are those of `kernels.sparse`, to rounding.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dimlift.errors import ConfigError, UnknownName

Backend = Literal["automatic", "dimlift", "spconv"]

_backend: ContextVar[Backend] = ContextVar("backend", default="automatic")


@contextmanager
def computed_by(backend: Backend) -> Iterator[None]:
    """Sparse convolutions inside the block are computed by dimlift or by spconv, whatever the device.

    Outside, and with "automatic", spconv computes for GPUs, where it is installed for them and takes the numbers. Where
    torch is told to be deterministic it does not: it takes the kernel that was fastest when tried, and kernels differ.

    Raises:
        UnknownName: for another backend.
    """
    if backend not in get_args(Backend):
        raise UnknownName("backend of sparse convolutions", backend, get_args(Backend))
    before = _backend.set(backend)
    try:
        yield
    finally:
        _backend.reset(before)


def serves(features: Float[Tensor, "voxels channels"]) -> bool:
    """Whether spconv is to compute for these features.

    Raises:
        ConfigError: if it must and cannot.
    """
    backend = _backend.get()
    if backend == "automatic" and features.is_cuda and not torch.are_deterministic_algorithms_enabled():
        return _hindrance(features) is None
    if backend == "spconv" and (hindrance := _hindrance(features)):
        raise ConfigError(f"spconv cannot compute this sparse convolution: {hindrance}, or take computed_by('dimlift')")
    return backend == "spconv"


def convolution(
    features: Float[Tensor, "voxels channels"],
    weight: Float[Tensor, "taps channels outputs"],
    pairs: Int[Tensor, "2 taps most"],
    counts: Int[Tensor, " taps"],
    outputs: int,
) -> Float[Tensor, "out outputs"]:
    """Features of the output voxels; backward through spconv, too.

    Args:
        pairs: for each tap, rows of the input and of the output, int32.
        counts: how many of them count, int32.
        outputs: rows of the output.
    """
    from spconv.core import ConvAlgo
    from spconv.pytorch.functional import indice_conv

    kernel = weight.permute(2, 0, 1).contiguous()  # spconv's own order
    # It would take float16 for any mixed precision, and knows no bfloat16; and it works on the current device.
    with torch.autocast(features.device.type, enabled=False), torch.cuda.device_of(features):
        return indice_conv(features, kernel, pairs, counts, outputs, ConvAlgo.Native)


def _hindrance(features: Tensor) -> str | None:
    """Why spconv cannot compute for these features, and the way out."""
    devices = _devices()
    if not devices:
        return "it is not installed; pip install 'dimlift[spconv]'"
    if features.device.type not in devices:
        return "the one installed is made for processors; put the one for your CUDA in its place, such as spconv-cu126"
    if features.dtype not in (torch.float32, torch.float16):
        return f"it takes float32 and float16, not {features.dtype}; convert the features"
    return None


@cache
def _devices() -> tuple[str, ...]:
    """Kinds of devices that the spconv installed here was built for; none without it."""
    try:
        from spconv.cppconstants import CPU_ONLY_BUILD
    except ImportError:
        return ()
    return ("cpu",) if CPU_ONLY_BUILD else ("cpu", "cuda")
