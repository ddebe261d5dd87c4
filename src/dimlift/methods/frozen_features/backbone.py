"""The frozen 2D network features are borrowed from: a trained one, its random twin, or a bank of filters."""

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.backbones.info import IMAGENET_DEVIATION, IMAGENET_MEAN
from dimlift.errors import CannotLift
from dimlift.methods.frozen_features.filter_bank import FilterBank
from dimlift.methods.frozen_features.settings import BorrowSettings
from dimlift.methods.teachers.frozen_module import Frozen

DEFAULT_NETWORK = "packaged:efficientnet_lite0"


@dataclass(frozen=True)
class SliceNetwork:
    """A frozen network over pictures with values in [0, 1].

    Attributes:
        frozen: (B, 3, H, W) -> list of maps, finest first.
        mean: of each input channel, subtracted first.
        deviation: of each input channel, divided by.
        licence: of the weights, where known.
    """

    frozen: Frozen
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    licence: str | None = None

    def first_stage(self, maps: int) -> int:
        """Index of the first map that is taken where nobody chose."""
        return 0 if isinstance(self.frozen.network, FilterBank) or maps == 1 else 1

    @property
    def multiple(self) -> int:
        """Height and width of pictures must be multiples of this: the patches of a transformer."""
        sizes = [getattr(module, "patch_size", 1) for module in self.frozen.network.modules()]
        return math.lcm(*(n for size in sizes for n in (size if isinstance(size, tuple) else (size,)) if n))

    def __call__(self, pictures: Float[Tensor, "batch channels height width"]) -> list[Float[Tensor, "batch _ _ _"]]:
        """Maps of `pictures`, grey ones copied to every channel."""
        mean = torch.tensor(self.mean, device=pictures.device).view(1, -1, 1, 1)
        deviation = torch.tensor(self.deviation, device=pictures.device).view(1, -1, 1, 1)
        maps = self.frozen((pictures - mean) / deviation)
        if isinstance(maps, Tensor) or any(m.dim() != 4 for m in maps):
            raise CannotLift(
                f"{type(self.frozen.network).__name__} must give a list of maps (B, C, h, w); open it features_only"
            )
        wanted = _map_channels(self.frozen.network)
        return [_channels_first(m, wanted[i] if wanted else None) for i, m in enumerate(maps)]


def open_slice_network(settings: BorrowSettings) -> SliceNetwork:
    """The network the settings name.

    Raises:
        UnknownName: if there is no such network.
    """
    if settings.network == "filters":
        return SliceNetwork(Frozen(FilterBank()), (0.0,), (1.0,))
    from dimlift.backbones.open_network import open_network  # timm is heavy, and a filter bank does without

    kind, _, rest = settings.network.partition(":")
    name = settings.network if kind != "random" else rest or DEFAULT_NETWORK
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        pretrained = kind != "random" and settings.weights is None
        options: dict[str, Any] = {"pretrained": pretrained, "download": settings.download, "features_only": True}
        options |= {"weights": settings.weights}
        options |= {} if settings.maps is None else {"out_indices": settings.maps}
        try:
            network, info = open_network(name, dynamic_img_size=True, **options)  # transformers: slices of any size
        except TypeError as fault:
            if "dynamic_img_size" not in str(fault):
                raise
            network, info = open_network(name, **options)
    mean, deviation = info.mean or IMAGENET_MEAN, info.std or IMAGENET_DEVIATION
    return SliceNetwork(Frozen(network), tuple(mean), tuple(deviation), info.licence)


def wrap_network(
    network: nn.Module,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    deviation: tuple[float, ...] = IMAGENET_DEVIATION,
) -> SliceNetwork:
    """A network of one's own that maps pictures to a list of maps; it is copied, the original stays awake."""
    return SliceNetwork(Frozen(copy.deepcopy(network)), mean, deviation)


def _map_channels(network: nn.Module) -> list[int] | None:
    told = getattr(getattr(network, "feature_info", None), "channels", None)
    return list(told()) if callable(told) else None


def _channels_first(maps: Tensor, channels: int | None) -> Tensor:
    """Swin and its kin hand out (B, h, w, C)."""
    if channels is None or maps.shape[1] == channels or maps.shape[-1] != channels:
        return maps
    return maps.permute(0, 3, 1, 2)
