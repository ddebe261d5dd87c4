"""A 2D convolution whose kernel has gained a depth axis. It stays an nn.Conv2d, for code that reads its attributes."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.errors import CannotLift
from dimlift.inflation.inflate import inflate
from dimlift.inflation.input_channels import adapt_channels
from dimlift.inflation.oriented import INFLATIONS, random_shares
from dimlift.inflation.profiles import Profile, shares_of
from dimlift.lifting.layers import conv_factorised, conv_kernels, depth_shift
from dimlift.lifting.layers.conv_kernels import Slide


@dataclass(frozen=True)
class Kind:
    """What a subclass of nn.Conv2d does beside convolving.

    Attributes:
        same: whether a layer pads as TensorFlow's 'same' does, from the size at hand.
        gain: for weight-standardised kernels, the factor (O,) on the standardised kernel; None for plain kernels.
    """

    same: Callable[[Any], bool] = lambda conv: False
    gain: Callable[[Any], Tensor | float] | None = None


KINDS: dict[str, Kind] = {"Conv2d": Kind()}
"""By class name, so that no library need be imported to know its layers."""


def register_convolution(name: str, kind: Kind) -> None:
    """Teach dimlift a subclass of nn.Conv2d with a forward of its own."""
    KINDS[name] = kind


def _scaled(conv: Any) -> Tensor:
    return (conv.gain * conv.scale).flatten()


register_convolution("Conv2dSame", Kind(same=lambda conv: True))
register_convolution("StdConv2d", Kind(gain=lambda conv: 1.0))
register_convolution("StdConv2dSame", Kind(same=lambda conv: conv.same_pad, gain=lambda conv: 1.0))
register_convolution("ScaledStdConv2d", Kind(gain=_scaled))
register_convolution("ScaledStdConv2dSame", Kind(same=lambda conv: conv.same_pad, gain=_scaled))


def kind_of(conv: nn.Conv2d, name: str) -> Kind:
    """What is known of this layer's class.

    Raises:
        CannotLift: if it has a forward of its own that nobody described.
    """
    for cls in type(conv).__mro__:
        if cls.__name__ in KINDS:
            return KINDS[cls.__name__]
        if "forward" in cls.__dict__:
            break
    raise CannotLift(
        f"{name} is a {type(conv).__name__}, a convolution with a forward of its own; describe it once with "
        f"dimlift.lifting.layers.conv.register_convolution('{type(conv).__name__}', Kind(...)), "
        "or leave it out of the plan with kernel={name: size}"
    )


class TalkingConvolution(nn.Conv2d):
    """Mixed into the class of the layer it lifts; see `lift_convolution`.

    The weight is (O, I, k, kh, kw), or (O, I, kh, kw) beside `depth_profile` (O, k) when factorised.
    A standardised kernel takes its statistics from the 2D kernel, the sum over depth, or along several axes the one
    whose inflation comes closest (`plane`); its mean is taken away as inflated (`depth_shares`), so that inflating and
    standardising may change places.
    `stacked`: this layer reads the image, and the slices of its tubelets already come as channels.
    """

    kind: Kind
    depth_size: int
    tubelets: bool
    stacked: bool = False
    axes: tuple[str, ...]
    inflation: str | None
    adapted: int | None
    depth_shares: Tensor
    plane: Tensor | None
    depth_profile: nn.Parameter | None

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n2 o h2 w2"]:
        """Convolve folded slices; depth comes from the forward under way."""
        x, slide = self._slide(x)
        kernel = self._kernel()
        if kernel.ndim == 4:
            x = conv_kernels.convolve_slices(x, kernel, slide)
            if self.depth_profile is not None:
                mix = conv_factorised.mix_tubelets if self.tubelets else conv_factorised.mix
                x = mix(x, self.depth_profile.to(x.dtype))
        elif self.stacked:
            x = conv_kernels.convolve_slices(x, kernel.transpose(1, 2).flatten(1, 2), slide)
        else:
            convolve = conv_kernels.convolve_tubelets if self.tubelets else conv_kernels.convolve_full
            x = convolve(x, kernel, slide)
        return x if self.bias is None else x + self.bias.to(x.dtype)[:, None, None]

    def _slide(self, x: Tensor) -> tuple[Tensor, Slide]:
        size, stride, dilation = _pair(self.kernel_size), _pair(self.stride), _pair(self.dilation)
        padding = (0, 0)
        if self.kind.same(self):
            x = depth_shift.same_padding(x, size, stride, dilation)
        if self.padding_mode != "zeros":
            x = F.pad(x, self._reversed_padding_repeated_twice, mode=self.padding_mode)
        elif isinstance(self.padding, str):
            x = F.pad(x, self._reversed_padding_repeated_twice)
        else:
            padding = _pair(self.padding)
        return x, Slide(stride, padding, dilation, self.groups)

    def _kernel(self) -> Tensor:
        kernel = self.weight
        if self.kind.gain is not None:
            flat = kernel.sum(2) if kernel.ndim == 5 else kernel
            if self.plane is not None:
                flat = torch.einsum("oidhw,dhwp->oip", kernel, self.plane.to(kernel))[..., None]
            variance, mean = torch.var_mean(flat, dim=(1, 2, 3), keepdim=True, correction=0)
            gain = self.kind.gain(self)
            gain = gain.view(-1, 1, 1, 1) if isinstance(gain, Tensor) else gain
            scale = gain * torch.rsqrt(variance + self.eps)  # type: ignore[operator]  # every standardised kind has it
            if kernel.ndim == 5:
                shares = self.depth_shares.to(kernel)
                kernel = (kernel - mean[:, :, None] * shares) * scale[:, :, None]
            else:
                kernel = (kernel - mean) * scale
        return kernel if self.adapted is None else adapt_channels(kernel, self.adapted)

    def extra_repr(self) -> str:
        """The 2D layer's description, and its depth."""
        how = "tubelets" if self.tubelets else "factorised" if self.weight.ndim == 4 else "full"
        return f"{super().extra_repr()}, depth={self.depth_size}, {how}"


def _pair(sizes: tuple[int, ...]) -> tuple[int, int]:
    return sizes[0], sizes[1]


@functools.cache
def _talking(cls: type[nn.Conv2d]) -> type[TalkingConvolution]:
    if cls is nn.Conv2d:
        return TalkingConvolution
    return type(f"Talking{cls.__name__}", (TalkingConvolution, cls), {})


def lift_convolution(
    conv: nn.Conv2d,
    name: str,
    k: int,
    *,
    profile: str | Profile = "centre",
    axes: tuple[str, ...] = ("depth",),
    tubelets: bool = False,
    factorised: bool = False,
    channels: int | None = None,
) -> None:
    """Turn a convolution into a talking one, in place: hooks, names and further parameters stay.

    Args:
        conv: the layer; its weight is replaced.
        name: what messages call it.
        k: slices its kernel looks at; 1 only makes sense with `channels`.
        tubelets: stride k in depth as well.
        channels: number of inputs to answer, if it differs; a plain kernel is adapted here, a standardised one after
            standardising, since its statistics are those of all three colours.

    Raises:
        CannotLift: see `kind_of`.
    """
    kind = kind_of(conv, name)
    adapted = None
    weight = conv.weight.detach()
    if channels is not None and channels != conv.in_channels:
        if conv.groups != 1:
            raise CannotLift(
                f"{name} reads the image with {conv.groups} groups; lift with in_channels={conv.in_channels}"
            )
        if kind.gain is None:
            weight = adapt_channels(weight, channels)
        else:
            adapted = channels
        conv.in_channels = channels
    inflation = profile if isinstance(profile, str) and profile in INFLATIONS and k > 1 else None
    if inflation is not None and kind.gain is not None and not factorised:
        raise CannotLift(
            f"{name} standardises its kernel by the statistics of a slice, which {inflation} does not keep; "
            f"use a depth profile{', or factorised=True' if inflation == 'random' else ''}"
        )
    shares = shares_of("centre" if inflation is not None else profile, k).to(weight)
    profiles = None
    if k > 1 and factorised:
        each = random_shares(conv.out_channels, k).to(weight) if inflation else shares.repeat(conv.out_channels, 1)
        profiles = nn.Parameter(each)
    elif k > 1:
        weight = depth_shift.tap_after_tap(inflate(weight, k, profile, axes))
    trained = conv.weight.requires_grad
    if weight is not conv.weight:
        conv.weight = nn.Parameter(weight, requires_grad=trained)
    conv.__class__ = _talking(type(conv))  # type: ignore[arg-type]  # a class hashes by identity
    conv.inflation = inflation  # type: ignore[assignment]
    conv.axes = axes if k > 1 else ("depth",)  # type: ignore[assignment]
    conv.kind, conv.depth_size, conv.tubelets, conv.adapted = kind, k, tubelets and k > 1, adapted  # type: ignore[assignment]
    plane = None
    spread = shares[:, None, None]
    if k > 1 and axes != ("depth",) and kind.gain is not None:
        spread = inflate(weight.new_ones(1, 1, k, k), k, profile, axes)[0, 0]
        pixels = torch.eye(k * k, dtype=torch.float64).view(k * k, 1, k, k)
        plane = torch.linalg.pinv(inflate(pixels, k, profile, axes).flatten(1)).view(k, k, k, k * k).to(weight)
    conv.register_buffer("depth_shares", spread, persistent=False)
    conv.register_buffer("plane", plane, persistent=False)
    conv.register_parameter("depth_profile", profiles)
