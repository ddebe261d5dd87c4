"""One small network for each architecture family, with weights for which no law holds by accident."""

from typing import NamedTuple

import torch
from torch import nn

from dimlift.backbones.factory import create_backbone


class Family(NamedTuple):
    """A timm network, options that make it small, and the size of its images."""

    name: str
    size: int = 64
    features: bool = True
    options: dict = {}  # noqa: RUF012 - never written to


FAMILIES = [
    Family("test_resnet"),
    Family("resnet10t"),
    Family("seresnext26t_32x4d"),
    Family("resnetv2_50x1_bit", 32),
    Family("test_nfnet"),
    Family("convnext_atto"),
    Family("convnextv2_atto"),
    Family("tf_efficientnet_lite0"),
    Family("test_efficientnet"),
    Family("mobilenetv3_small_050"),
    Family("mobilenetv2_035"),
    Family("regnety_002"),
    Family("densenet121"),
    Family("vgg11_bn", 32),
    Family("ghostnet_050"),
    Family("hrnet_w18_small"),
    Family("convformer_s18", 32),
    Family("poolformer_s12"),
    Family("vit_tiny_patch16_224", 32, True, {"img_size": 32}),
    Family("deit_tiny_distilled_patch16_224", 32, True, {"img_size": 32}),
    Family("vit_small_patch14_reg4_dinov2", 28, True, {"img_size": 28, "depth": 4}),
    Family("vit_base_patch32_clip_224", 64, True, {"img_size": 64, "depth": 3}),
    Family("beit_base_patch16_224", 32, True, {"img_size": 32, "depth": 3}),
    Family("eva02_tiny_patch14_224", 28, True, {"img_size": 28}),
    Family("swin_tiny_patch4_window7_224", 64, True, {"img_size": 64, "depths": (1, 2, 1, 1)}),
    Family("swinv2_tiny_window8_256", 64, True, {"img_size": 64, "depths": (1, 2, 1, 1)}),
    Family("maxvit_rmlp_pico_rw_256", 64, True, {"img_size": 64}),
    Family("coatnet_nano_rw_224", 64, True, {"img_size": 64}),
    Family("pvt_v2_b0"),
    Family("mvitv2_tiny", 64, True, {"img_size": 64}),
    Family("davit_tiny", 32),
    Family("convmixer_768_32", 28, False),
    Family("xcit_nano_12_p16_224", 64, True, {"img_size": 64}),
    Family("cait_xxs24_224", 32, True, {"img_size": 32, "depth": 3}),
    Family("hiera_tiny_224", 64, True, {"img_size": 64}),
    Family("mixer_s32_224", 64, True, {"img_size": 64}),
    Family("test_vit", 160),
]


def build(family: Family, dtype: torch.dtype) -> nn.Module:
    """Return the family's network in eval mode, with random weights that are not degenerate."""
    network, _ = create_backbone(family.name, features_only=family.features, **family.options)
    return scramble(network).to(dtype).eval()


@torch.no_grad()
def scramble(network: nn.Module) -> nn.Module:
    """Randomise every weight: zero-initialised scales and initial statistics would hide errors."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if not tensor.is_floating_point():
            continue
        noise = torch.rand(tensor.shape, generator=generator)
        if name.endswith("running_var") or (tensor.ndim == 1 and bool((tensor == 1).all())):
            tensor.copy_(0.5 + noise)
        elif name.endswith("running_mean") or bool((tensor == 0).all()):
            tensor.copy_(0.2 * (noise - 0.5))
        elif tensor.ndim == 1 and bool((tensor == tensor.flatten()[0]).all()):  # layer scales of 1e-6
            tensor.copy_(0.5 + noise)
    return network


def images(family: Family, count: int, channels: int, dtype: torch.dtype) -> torch.Tensor:
    """Return slices that differ from one another."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, channels, family.size, family.size, generator=generator, dtype=torch.float64).to(dtype)


def run_network(network: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Return maps or [logits], without gradients."""
    with torch.no_grad():
        out = network(x)
    return list(out) if isinstance(out, list | tuple) else [out]
