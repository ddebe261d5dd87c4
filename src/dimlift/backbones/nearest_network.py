"""Which network a state dict is of, from names and shapes. A few candidates of its family are built without memory."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

from dimlift.backbones.load_report import Shape

Shapes = Mapping[str, Shape]


class NetworkMatch(NamedTuple):
    """A network and how much of the file fits it.

    Attributes:
        name: for `create_backbone`.
        fitting: number of its tensors that the file has with the same shape.
        tensors: number of its tensors.
    """

    name: str
    fitting: int
    tensors: int


RESNETS = (
    "resnet18", "resnet34", "resnet26", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "wide_resnet101_2",
    "resnext50_32x4d", "resnext101_32x8d", "seresnet50",
)  # fmt: skip
WIDTHS = {192: "tiny", 384: "small", 768: "base", 1024: "large", 1280: "huge", 1408: "giant"}
CONVNEXTS = {40: "atto", 48: "femto", 64: "pico", 80: "nano", 96: "tiny", 128: "base", 192: "large", 256: "xlarge"}
SWINS = {96: ("tiny", "small"), 128: ("base",), 192: ("large",)}
MIN_FRACTION = 0.5
"""Fraction of the network's tensors that have to fit; below it no network is named."""


def nearest_network(shapes: Shapes) -> NetworkMatch | None:
    """Return the network that most tensors of a state dict fit, of the families that are recognised.

    Known are ResNet and its variants, ViT, DeiT, DINOv2, ConvNeXt, Swin, EfficientNet and DenseNet in the names of
    timm and torchvision. None if the file is of another family.
    """
    from dimlift.backbones.factory import create_backbone

    best: NetworkMatch | None = None
    generator = torch.get_rng_state()
    for name in _candidates(shapes):
        try:
            with torch.device("meta"):
                network, _ = create_backbone(name, pretrained=False)
        except Exception:  # this version of the library lacks it
            continue
        wanted = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
        fitting = max(_count(shapes, wanted, prefix) for prefix in _prefixes(shapes, wanted))
        if best is None or fitting / len(wanted) > best.fitting / best.tensors:
            best = NetworkMatch(name, fitting, len(wanted))
    torch.set_rng_state(generator)
    return best if best is not None and best.fitting >= MIN_FRACTION * best.tensors else None


def _count(shapes: Shapes, wanted: Shapes, prefix: str) -> int:
    return sum(shapes.get(prefix + key) == shape for key, shape in wanted.items())


def _prefixes(shapes: Shapes, wanted: Shapes) -> set[str]:
    """Return the prefixes under which the file has one of the network's first names."""
    names = [key for key in wanted if "." in key][:3]
    found = {key.removesuffix(name) for name in names for key in shapes if key.endswith(name)}
    return {prefix for prefix in found if not prefix or prefix.endswith(".")} | {""}


def _candidates(shapes: Shapes) -> list[str]:
    for pattern, propose in FAMILIES:
        found = next(((key, shape) for key, shape in shapes.items() if re.search(pattern, key)), None)
        if found is not None:
            return propose(shapes, found[1])
    return []


def _vits(shapes: Shapes, kernel: Shape) -> list[str]:
    size = WIDTHS.get(kernel[0])
    if size is None or len(kernel) != 4:
        return []
    name = f"vit_{size}_patch{kernel[-1]}"
    if any(key.endswith("ls1.gamma") for key in shapes):
        registers = "reg4_" if any(key.endswith("reg_token") for key in shapes) else ""
        return [f"timm:{name}_{registers}dinov2", f"timm:{name}_dinov2"]
    deit = [f"timm:deit_{size}_distilled_patch{kernel[-1]}_224"] if any("dist_token" in key for key in shapes) else []
    return [*deit, f"timm:{name}_224", f"timm:{name}_384", f"timm:{name}_clip_224"]


def _convnexts(shapes: Shapes, kernel: Shape) -> list[str]:
    size, deep = CONVNEXTS.get(kernel[0]), any(re.search(r"stages\.2\.(blocks\.)?20\.", key) for key in shapes)
    if size is None:
        return []
    version = "convnextv2" if any("grn" in key for key in shapes) else "convnext"
    return [f"timm:{version}_{'small' if size == 'tiny' and deep else size}"]


def _swins(shapes: Shapes, kernel: Shape) -> list[str]:
    sizes = SWINS.get(kernel[0], ())
    return [f"timm:swin_{size}_patch4_window{window}_224" for size in sizes for window in (7, 12)]


FAMILIES: tuple[tuple[str, Callable[[Shapes, Shape], list[str]]], ...] = (
    (r"denseblock1\.", lambda *_: [f"timm:densenet{depth}" for depth in (121, 161, 169, 201)]),
    (r"blocks\.0\.0\.bn1\.", lambda *_: [f"timm:efficientnet_b{n}" for n in range(4)] + ["timm:mobilenetv3_large_100"]),
    (r"features\.1\.0\.block\.0\.0\.", lambda *_: [f"torchvision:efficientnet_b{n}" for n in range(4)]),
    (r"(^|\.)stem(_0|\.0)\.weight$", _convnexts),
    (r"(^|\.)patch_embed\.proj\.weight$", lambda shapes, kernel: _swins(shapes, kernel) + _vits(shapes, kernel)),
    (r"(^|\.)layer1\.0\.conv1\.weight$", lambda *_: [f"timm:{name}" for name in RESNETS]),
)
"""By a pattern of a name, a function that proposes networks from all shapes and that of the tensor found."""
