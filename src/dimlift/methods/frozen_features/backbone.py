"""The frozen 2D network of feature extraction: pretrained, randomly initialised, or a filter bank."""

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.backbones.info import IMAGENET_MEAN, IMAGENET_STD
from dimlift.errors import LiftError
from dimlift.lifting.input_size import candidate_sizes, fixed_image_size
from dimlift.lifting.slice_padding import SlicePadding, find_padding
from dimlift.methods.frozen_features.filter_bank import FilterBank
from dimlift.methods.frozen_features.settings import FeatureExtractionSettings
from dimlift.methods.teachers.frozen_module import FrozenModule

DEFAULT_NETWORK = "packaged:efficientnet_lite0"


@dataclass(frozen=True)
class SliceBackbone:
    """A frozen network for images with values in [0, 1].

    Attributes:
        frozen: (B, 3, H, W) -> list of maps, finest first.
        mean: mean of each input channel.
        std: standard deviation of each input channel.
        licence: licence of the weights, if known.
    """

    frozen: FrozenModule
    mean: tuple[float, ...]
    std: tuple[float, ...]
    licence: str | None = None

    def first_stage(self, num_maps: int) -> int:
        """Return the index of the first map that is used by default."""
        return 0 if isinstance(self.frozen.network, FilterBank) or num_maps == 1 else 1

    @property
    def multiple(self) -> int:
        """Divisor of the height and width of images: the patch size of a transformer."""
        sizes = [getattr(module, "patch_size", 1) for module in self.frozen.network.modules()]
        return math.lcm(*(n for size in sizes for n in (size if isinstance(size, tuple) else (size,)) if n))

    def find_padding(self) -> SlicePadding:
        """Return the sizes of images of which the network reads every pixel."""
        network = self.frozen.network
        return find_padding(network, len(self.mean), fixed_image_size(network), candidate_sizes(network, None))

    def __call__(self, images: Float[Tensor, "batch channels height width"]) -> list[Float[Tensor, "batch _ _ _"]]:
        """Return the maps of images; one channel is copied to all input channels."""
        mean = torch.tensor(self.mean, device=images.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(1, -1, 1, 1)
        maps = self.frozen((images - mean) / std)
        if isinstance(maps, Tensor) or any(m.dim() != 4 for m in maps):
            raise LiftError(
                f"{type(self.frozen.network).__name__} must return a list of maps (B, C, h, w); create it with "
                "features_only=True"
            )
        channels = _map_channels(self.frozen.network)
        return [_channels_first(m, channels[i] if channels else None) for i, m in enumerate(maps)]


def open_slice_backbone(settings: FeatureExtractionSettings) -> SliceBackbone:
    """Create the network of the settings.

    Raises:
        UnknownNameError: if there is no such network.
    """
    if settings.network == "filters":
        return SliceBackbone(FrozenModule(FilterBank()), (0.0,), (1.0,))
    from dimlift.backbones.factory import create_backbone  # timm imports slowly and a filter bank does not need it

    kind, _, rest = settings.network.partition(":")
    name = settings.network if kind != "random" else rest or DEFAULT_NETWORK
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        pretrained = kind != "random" and settings.weights is None
        options: dict[str, Any] = {"pretrained": pretrained, "download": settings.download, "features_only": True}
        options |= {"weights": settings.weights}
        options |= {} if settings.out_indices is None else {"out_indices": settings.out_indices}
        try:
            network, info = create_backbone(name, dynamic_img_size=True, **options)  # transformers: any slice size
        except TypeError as fault:
            if "dynamic_img_size" not in str(fault):
                raise
            network, info = create_backbone(name, **options)
    mean, std = info.mean or IMAGENET_MEAN, info.std or IMAGENET_STD
    return SliceBackbone(FrozenModule(network), tuple(mean), tuple(std), info.licence)


def wrap_backbone(
    network: nn.Module,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
) -> SliceBackbone:
    """Return a custom network, images -> list of maps, as a frozen backbone; the network is copied."""
    return SliceBackbone(FrozenModule(copy.deepcopy(network)), mean, std)


def _map_channels(network: nn.Module) -> list[int] | None:
    channels = getattr(getattr(network, "feature_info", None), "channels", None)
    return list(channels()) if callable(channels) else None


def _channels_first(maps: Tensor, channels: int | None) -> Tensor:
    """Return (B, C, h, w); Swin transformers return (B, h, w, C)."""
    if channels is None or maps.shape[1] == channels or maps.shape[-1] != channels:
        return maps
    return maps.permute(0, 3, 1, 2)
