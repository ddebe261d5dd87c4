"""Convolutions whose kernel exceeds the feature map, in float32 under bfloat16 autocast.

oneDNN computes wrong bfloat16 weight gradients on a CPU where a kernel is larger than the map along an axis: for torch
2.13 with AVX512-BF16, kernels of 3 on 2 slices and kernels of 5 on 2 to 4 slices. The error is silent.
"""

import contextlib
from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dimlift.lifting.layers.call_interceptor import CallInterceptor, TorchFunction

CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
_DILATION = {False: 5, True: 7}
"""Position of `dilation` among the arguments, by whether the convolution is transposed."""


class Float32Convolution:
    """Call handler that computes convolutions in float32 where the kernel exceeds the input along an axis."""

    functions: Collection[TorchFunction] = CONVOLUTIONS

    def __call__(self, function: TorchFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the result of a convolution, in float32 where bfloat16 gradients may be wrong."""
        x: Tensor = args[0] if args else kwargs["input"]
        weight: Tensor = args[1] if len(args) > 1 else kwargs["weight"]
        half = torch.is_autocast_enabled(x.device.type) or x.dtype is torch.bfloat16
        if not half or not exceeds_map(function, x, weight, args, kwargs):
            return function(*args, **kwargs)
        with torch.autocast(x.device.type, enabled=False):
            result = function(*map(_to_float32, args), **{name: _to_float32(value) for name, value in kwargs.items()})
        return result if torch.is_autocast_enabled(x.device.type) else result.to(x.dtype)


def exceeds_map(
    function: TorchFunction, x: Tensor, weight: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> bool:
    """Return whether the dilated kernel is longer than the input along a spatial axis on which it spans voxels."""
    axes = weight.ndim - 2
    position = _DILATION["transpose" in function.__name__]
    dilation = kwargs.get("dilation", args[position] if len(args) > position else 1)
    steps = torch.as_tensor(dilation).expand(axes).tolist()  # one number, or one for each axis
    return any(
        step * (taps - 1) + 1 > size for step, taps, size in zip(steps, weight.shape[2:], x.shape[-axes:], strict=True)
    )


def guard_convolutions(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context of a training step, backward pass included: recomputed activations need it, too."""
    if precision == "bf16" and device.type == "cpu":
        return CallInterceptor(Float32Convolution())
    return contextlib.nullcontext()


def _to_float32(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) else value
