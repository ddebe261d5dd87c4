"""2D convolution with an inflated kernel. It remains an nn.Conv2d, for code that reads its attributes."""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.class_patch import patch_class
from dimlift.errors import LiftError
from dimlift.inflation.inflate import inflate_kernel
from dimlift.inflation.input_channels import adapt_channels
from dimlift.inflation.oriented import random_depth_weights
from dimlift.inflation.profiles import KERNEL_INFLATIONS, Profile, profile_weights
from dimlift.lifting.fold import follow_branch
from dimlift.lifting.layers import conv_factorised, conv_kernels, conv_strided, depth_shift
from dimlift.lifting.layers.conv_kernels import ConvArgs
from dimlift.lifting.layers.conv_strided import DepthArgs
from dimlift.lifting.registry import CONV_TYPES, ConvType, find_registered, registration_hint


def conv_type(conv: nn.Conv2d, name: str) -> ConvType:
    """Return how a convolution is registered; subclasses that keep the registered `forward` count as well.

    Raises:
        LiftError: if its class overrides `forward` and is not registered.
    """
    return _find_type(type(conv).__mro__, name)


def _find_type(classes: Iterable[type], name: str) -> ConvType:
    first, *bases = classes
    for cls in (first, *bases):
        found = find_registered(CONV_TYPES, cls)
        if found is not None:
            return found
        if "forward" in cls.__dict__:
            break
    raise LiftError(
        f"{name} is a {first.__name__}, a convolution that overrides forward; "
        f"{registration_hint('conv', first.__name__)}, or leave it out of the plan with kernel={{name: size}}"
    )


class InflatedConv2d(nn.Conv2d):
    """Mixin for the class of a convolution; created by `inflate_conv`.

    The weight is (O, I, k, kh, kw), or (O, I, kh, kw) with a `depth_profile` (O, k) if factorised.

    A weight-standardised layer takes its statistics from the 2D kernel: the sum over depth, or, for a kernel inflated
    along several axes, the 2D kernel whose inflation is closest (`deflation`). It subtracts the mean as inflated
    (`inflated_one`), so that standardising and inflating commute.

    Attributes:
        conv_type: how its 2D class is registered.
        depth_kernel_size: number of slices the kernel covers.
        tubelets: whether the stride along depth equals `depth_kernel_size`.
        stacked_input: whether the slices of a tubelet already arrive as channels, as at the first convolution.
        depth_args: stride along depth other than that of tubelets, and padding along depth.
        axes: axes the kernel was inflated along.
        inflation: name of the inflation if it is not a depth profile, else None.
        adapted_channels: number of input channels that a standardised kernel is adapted to, else None.
        inflated_one: (k, kh, kw) or (k, 1, 1), a 2D kernel of ones, inflated.
        deflation: (k, kh, kw, kh * kw), pseudo-inverse of the inflation, for standardised kernels along several axes.
        depth_profile: depth kernel of each output channel if factorised, else None.
    """

    name_prefix = "Inflated"

    conv_type: ConvType
    depth_kernel_size: int
    tubelets: bool
    stacked_input: bool = False
    depth_args: DepthArgs = DepthArgs()
    axes: tuple[str, ...]
    inflation: str | None
    adapted_channels: int | None
    inflated_one: Tensor
    deflation: Tensor | None
    depth_profile: nn.Parameter | None

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n2 o h2 w2"]:
        """Convolve folded slices; depth is taken from the current fold."""
        follow_branch(x)
        if self.depth_args.step > 1 and self.depth_kernel_size == 1:
            x = depth_shift.depth_windows(x, 1, self.depth_args.step, before=0)[0]
        x, conv_args = self._pad(x)
        kernel = self._kernel()
        if kernel.ndim == 4:
            x = conv_kernels.conv2d_per_slice(x, kernel, conv_args)
            if self.depth_profile is not None and self.depth_args != DepthArgs():
                x = conv_strided.mix_strided(x, self.depth_profile.to(x.dtype), self.depth_args)
            elif self.depth_profile is not None:
                mix = conv_factorised.mix_tubelets if self.tubelets else conv_factorised.mix_depth
                x = mix(x, self.depth_profile.to(x.dtype))
        elif self.stacked_input:
            x = conv_kernels.conv2d_per_slice(x, kernel.transpose(1, 2).flatten(1, 2), conv_args)
        elif self.depth_args != DepthArgs():
            x = conv_strided.conv_strided(x, kernel, conv_args, self.depth_args)
        else:
            convolve = conv_kernels.conv_tubelets if self.tubelets else conv_kernels.conv_full
            x = convolve(x, kernel, conv_args)
        return x if self.bias is None else x + self.bias.to(x.dtype)[:, None, None]

    def _pad(self, x: Tensor) -> tuple[Tensor, ConvArgs]:
        """Apply all padding but zero padding of fixed size, which is left to the convolution."""
        size, stride, dilation = _pair(self.kernel_size), _pair(self.stride), _pair(self.dilation)
        padding = (0, 0)
        if self.conv_type.same_padding(self):
            x = depth_shift.same_padding(x, size, stride, dilation)
        if self.padding_mode != "zeros":
            x = F.pad(x, self._reversed_padding_repeated_twice, mode=self.padding_mode)
        elif isinstance(self.padding, str):
            x = F.pad(x, self._reversed_padding_repeated_twice)
        else:
            padding = _pair(self.padding)
        return x, ConvArgs(stride, padding, dilation, self.groups)

    def _kernel(self) -> Tensor:
        """Return the kernel, standardised and adapted to the input channels where the layer does so."""
        kernel = self.weight
        if self.conv_type.gain is not None:
            flat = kernel.sum(2) if kernel.ndim == 5 else kernel
            if self.deflation is not None:
                flat = torch.einsum("oidhw,dhwp->oip", kernel, self.deflation.to(kernel))[..., None]
            variance, mean = torch.var_mean(flat, dim=(1, 2, 3), keepdim=True, correction=0)
            gain = self.conv_type.gain(self)
            gain = gain.view(-1, 1, 1, 1) if isinstance(gain, Tensor) else gain
            scale = gain * torch.rsqrt(variance + self.eps)  # type: ignore[operator]  # standardised layers have eps
            if kernel.ndim == 5:
                kernel = (kernel - mean[:, :, None] * self.inflated_one.to(kernel)) * scale[:, :, None]
            else:
                kernel = (kernel - mean) * scale
        return kernel if self.adapted_channels is None else adapt_channels(kernel, self.adapted_channels)

    def extra_repr(self) -> str:
        """The 2D layer's description and the kernel's depth."""
        form = "tubelets" if self.tubelets else "factorised" if self.weight.ndim == 4 else "full"
        stride = f", depth_stride={self.depth_args.step}" if self.depth_args.step > 1 else ""
        return f"{super().extra_repr()}, depth={self.depth_kernel_size}, {form}{stride}"

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the registered type, whose functions may not be picklable; `__setstate__` restores it."""
        return {name: value for name, value in self.__dict__.items() if name != "conv_type"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        classes = type(self).__mro__
        self.conv_type = _find_type(classes[classes.index(InflatedConv2d) + 1 :], "a pickled convolution")


def _pair(sizes: tuple[int, ...]) -> tuple[int, int]:
    return sizes[0], sizes[1]


def inflate_conv(
    conv: nn.Conv2d,
    name: str,
    k: int,
    *,
    profile: str | Profile = "centre",
    axes: tuple[str, ...] = ("depth",),
    tubelets: bool = False,
    factorised: bool = False,
    channels: int | None = None,
    depth_args: DepthArgs = DepthArgs(),  # noqa: B008 - immutable
) -> None:
    """Inflate a convolution in place: its hooks, its name and its other parameters are kept.

    Args:
        conv: the layer; its weight is replaced.
        name: its name in error messages.
        k: number of slices the kernel covers; 1 to adapt `channels` only.
        profile: depth profile, or the name of another inflation.
        axes: axes the profile is laid along.
        tubelets: use stride k along depth.
        factorised: keep the 2D kernel and add a depth profile for each output channel.
        channels: number of input channels, if it changes. A plain kernel is adapted once; a standardised kernel at
            every forward, after standardising, since its statistics include all input channels.
        depth_args: stride and padding along depth.

    Raises:
        LiftError: if the layer's class is not registered (see `conv_type`), or it cannot be inflated in this way.
    """
    registered = conv_type(conv, name)
    adapted = None
    weight = conv.weight.detach()
    if channels is not None and channels != conv.in_channels:
        if conv.groups != 1:
            raise LiftError(
                f"{name} reads the image in {conv.groups} groups, which cannot be adapted to {channels} channels; "
                f"lift with in_chans={conv.in_channels}"
            )
        if registered.gain is None:
            weight = adapt_channels(weight, channels)
        else:
            adapted = channels
        conv.in_channels = channels
    inflation = profile if isinstance(profile, str) and profile in KERNEL_INFLATIONS and k > 1 else None
    if inflation is not None and registered.gain is not None and not factorised:
        raise LiftError(
            f"{name} standardises its kernel by the statistics of the 2D kernel, which {inflation} does not preserve; "
            f"use a depth profile{', or factorised=True' if inflation == 'random' else ''}"
        )
    weights = torch.tensor(profile_weights("centre" if inflation is not None else profile, k), dtype=torch.float64)
    weights = weights.to(weight)
    depth_profile = None
    if k > 1 and factorised:
        same = weights.repeat(conv.out_channels, 1)
        depth_profile = nn.Parameter(random_depth_weights(conv.out_channels, k).to(weight) if inflation else same)
    elif k > 1:
        weight = depth_shift.taps_channels_last(inflate_kernel(weight, k, profile, axes))
    requires_grad = conv.weight.requires_grad
    if weight is not conv.weight:
        conv.weight = nn.Parameter(weight, requires_grad=requires_grad)
    inflated_one, deflation = weights[:, None, None], None
    if k > 1 and axes != ("depth",) and registered.gain is not None:
        inflated_one = inflate_kernel(weight.new_ones(1, 1, k, k), k, profile, axes)[0, 0]
        pixels = torch.eye(k * k, dtype=torch.float64).view(k * k, 1, k, k)
        inflated_pixels = inflate_kernel(pixels, k, profile, axes).flatten(1)
        deflation = torch.linalg.pinv(inflated_pixels).view(k, k, k, k * k).to(weight)
    if type(conv) is nn.Conv2d:
        conv.__class__ = InflatedConv2d
    else:
        patch_class(conv, InflatedConv2d)
    inflated: Any = conv
    inflated.conv_type, inflated.depth_kernel_size, inflated.tubelets = registered, k, tubelets and k > 1
    inflated.depth_args = depth_args
    inflated.axes, inflated.inflation, inflated.adapted_channels = axes if k > 1 else ("depth",), inflation, adapted
    conv.register_buffer("inflated_one", inflated_one, persistent=False)
    conv.register_buffer("deflation", deflation, persistent=False)
    conv.register_parameter("depth_profile", depth_profile)
