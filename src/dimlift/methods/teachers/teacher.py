"""Frozen 2D teachers: class logits, one embedding per image, or a feature map."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.backbones.info import IMAGENET_MEAN, IMAGENET_STD
from dimlift.errors import LiftError
from dimlift.methods.teachers.frozen_module import FrozenModule


@dataclass(frozen=True)
class Teacher:
    """A frozen 2D network with its input normalisation.

    Attributes:
        frozen: a complete timm network including its head, or any network that returns feature maps.
        mean, std: normalisation of images with values from 0 to 1.
        name: source of the network, for records.
        licence: of the weights, if known.
    """

    frozen: FrozenModule
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    name: str | None = None
    licence: str | None = None

    def normalise(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
        """Normalise images with values from 0 to 1 for the network."""
        mean = torch.tensor(self.mean, device=images.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(1, -1, 1, 1)
        return (images - mean) / std

    def logits(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        """Return the logits of the network's own head.

        Raises:
            LiftError: if it has no head.
        """
        output = self.frozen(self.normalise(images))
        if not isinstance(output, Tensor) or output.ndim != 2:
            raise LiftError(f"{self.name or 'the teacher'} returns no class logits; open it with its head")
        return output

    @torch.no_grad()
    def embed(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch channels"]:
        """Return one vector per image: the input of the network's head, or else the mean of its last map."""
        network = cast(Any, self.frozen.network)
        if not hasattr(network, "forward_head"):
            return self.feature_map(images).mean(dim=(2, 3))
        network.eval()
        return network.forward_head(network.forward_features(self.normalise(images)), pre_logits=True)

    @torch.no_grad()
    def feature_map(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch channels h w"]:
        """Return the last map; for transformers the patch tokens on their grid, without class and register tokens.

        Maps of a timm network have passed its final norm, like the input of its head.

        Raises:
            LiftError: if the network returns no maps.
        """
        network = cast(Any, self.frozen.network)
        if not hasattr(network, "forward_intermediates"):
            output = self.frozen(self.normalise(images))
            if isinstance(output, Tensor):
                raise LiftError(
                    f"{self.name or type(network).__name__} returns no feature maps; open it with features_only=True"
                )
            return output[-1]
        network.eval()
        maps = network.forward_intermediates(
            self.normalise(images), indices=1, norm=True, output_fmt="NCHW", intermediates_only=True
        )
        return maps[-1]


def open_teacher(
    name: str,
    *,
    pretrained: bool | None = None,
    weights: str | Path | None = None,
    download: bool = False,
    **options: Any,
) -> Teacher:
    """Open a teacher by name: "timm:vit_small_patch14_dinov2", "packaged:efficientnet_lite0", ...

    Args:
        pretrained: load the source's weights; None loads them for packaged networks and initialises others randomly.
        weights: local weights file to load instead.
        download: allow downloading weights that are not on this machine.
        options: passed to the source, for example `dynamic_img_size=True`.
    """
    from dimlift.backbones.factory import create_backbone  # timm is slow to import

    network, info = create_backbone(name, pretrained=pretrained, weights=weights, download=download, **options)
    return wrap_teacher(network, info.mean, info.std, info.name, info.licence)


def open_map_teacher(name: str, *, head: bool = False, **options: Any) -> Teacher:
    """Open a teacher that returns feature maps, for any image size where the network allows it.

    Args:
        head: keep the classification head; a network of transformers then returns logits only.
        options: see `open_teacher`.
    """
    if name.startswith("transformers:"):
        if not head:
            options["features_only"] = True
        return open_teacher(name, **options)
    try:
        return open_teacher(name, dynamic_img_size=True, **options)
    except TypeError as error:
        if "dynamic_img_size" not in str(error):
            raise
        return open_teacher(name, **options)


def wrap_teacher(
    network: nn.Module,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    name: str | None = None,
    licence: str | None = None,
) -> Teacher:
    """Make a teacher of a network; it is used without a copy, pass a copy if it is used elsewhere."""
    return Teacher(FrozenModule(network), mean or IMAGENET_MEAN, std or IMAGENET_STD, name, licence)
