"""A 2D network whose first layer takes a window of slices at once; everything behind it stays as it is.

- Zhang et al., TransSeg, 2022, https://proceedings.mlr.press/v193/zhang22a.html
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from dimlift.errors import CannotLift, PlanError
from dimlift.kernels.channels import adapt_channels
from dimlift.lifting.certificate import Claim, Layer
from dimlift.lifting.intake import image_readers
from dimlift.lifting.lifted import Lifted
from dimlift.lifting.network import lift
from dimlift.lifting.plan import DepthPlan
from dimlift.lifting.talk.convolution import TalkingConvolution, lift_convolution

TOLERANCE = 1e-4


def tubelet_encoder(
    network: str | Path,
    window: int = 5,
    *,
    in_channels: int = 1,
    profile: str | Callable[[int], Tensor] = "centre",
    certify: bool = True,
    **options: Any,
) -> Lifted:
    """(B, C, window, H, W) -> maps (B, C_i, 1, H_i, W_i): kernel and stride of the first layer are the window.

    Any first convolution will do, also one that does not patchify. The colours of its kernel are summed for grey
    volumes, and summed and shared equally for volumes of several channels, three included.

    Args:
        network: name of a 2D network.
        window: slices, an odd number.
        in_channels: channels of the volumes.
        profile: how the 2D kernel is shared out over the window.
        certify: try on a small input that a repeated slice, and with the centre profile any window, answers as the
            2D network does on the slice in the middle.
        options: what `lift` takes: pretrained, weights, image_size, out_indices, ...

    Raises:
        PlanError: if the window has no centre.
        CannotLift: if the window answers otherwise than promised.
    """
    if window < 1 or window % 2 == 0:
        raise PlanError(f"a window of {window} slices has no centre slice; use an odd number, such as {window | 1}")
    encoder = lift(network, DepthPlan(kernel=1), features_only=True, certify=certify, **options)
    readers = image_readers(encoder.network)
    if not readers:
        raise CannotLift(f"the image of {network} is not read by a convolution, which could take a window of slices")
    trial = None if encoder.certificate is None else _Trial(encoder, encoder.certificate.volume[-2:])
    report = encoder.weights_report
    for name, reader in readers.items():
        before = tuple(reader.weight.shape)
        lift_convolution(reader, name, window, profile=profile, tubelets=True, channels=in_channels)
        first = cast(TalkingConvolution, reader)
        if in_channels == before[1] and first.kind.gain is None:  # three channels of a scan are no colours
            grey = adapt_channels(first.weight.detach().sum(1, keepdim=True), in_channels)
            first.weight = nn.Parameter(grey.contiguous())
        first.stacked = window > 1
        report.copied.remove(f"{name}.weight")
        target = report.inflated if window > 1 else report.resized
        target[f"{name}.weight"] = (before, tuple(first.weight.shape))
    encoder.in_channels, encoder.tubelet = in_channels, window
    encoder.strides = tuple((window, *stride[1:]) for stride in encoder.strides)
    if window > 1:
        encoder.plan = DepthPlan(kernel=dict.fromkeys(readers, window), profile=profile, stride="kernel")
    if trial is not None and encoder.certificate is not None:
        layers = tuple(Layer(name, f"takes windows of {window} slices") for name in readers)
        encoder.certificate = replace(
            encoder.certificate,
            layers=layers,
            claims=trial.claims(encoder, centred=profile == "centre"),
            volume=(1, in_channels, window, *trial.picture.shape[-2:]),
        )
        if not encoder.certificate.holds:
            raise CannotLift(f"the windows of {network} do not answer as its slices did:\n{encoder.certificate}")
    return encoder


class _Trial:
    """A grey picture and what the 2D network says to it."""

    def __init__(self, encoder: Lifted, size: tuple[int, ...]) -> None:
        self.picture = torch.randn((1, 1, 1, *size), generator=torch.Generator().manual_seed(0))
        self.expected = self._answer(encoder, self.picture)

    def claims(self, encoder: Lifted, centred: bool) -> tuple[Claim, ...]:
        window = self.picture.repeat(1, 1, encoder.tubelet, 1, 1)
        constancy = self._error(encoder, window)
        noise = torch.randn(window.shape, generator=torch.Generator().manual_seed(1))
        noise[:, :, encoder.tubelet // 2] = self.picture[:, :, 0]
        slices = self._error(encoder, noise)
        reason = "" if centred else "all slices of a window answer together"
        return (
            Claim("slices", centred, reason, slices, TOLERANCE),
            Claim("constancy", True, "", constancy, TOLERANCE),
        )

    def _error(self, encoder: Lifted, window: Tensor) -> float:
        pairs = list(zip(self._answer(encoder, window), self.expected, strict=True))
        largest = max(float(wanted.abs().max()) for _, wanted in pairs)
        return max(float((found - wanted).abs().max()) for found, wanted in pairs) / max(largest, 1e-30)

    @staticmethod
    def _answer(encoder: Lifted, grey: Tensor) -> list[Tensor]:
        modes = {module: module.training for module in encoder.modules()}
        with torch.no_grad():
            answer = list(encoder.eval()(grey.expand(-1, encoder.in_channels, -1, -1, -1)))
        for module, mode in modes.items():
            module.training = mode
        return answer
