"""A frozen 2D network that is asked about pictures: class answers, one vector a picture, or a map of vectors."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.backbones.info import IMAGENET_DEVIATION, IMAGENET_MEAN
from dimlift.errors import CannotLift
from dimlift.methods.teachers.frozen_module import Frozen


@dataclass(frozen=True)
class Teacher:
    """Never trained, never woken, in no optimiser and no checkpoint (`Frozen`).

    Attributes:
        frozen: a whole timm network, its head included; or any that hands out maps.
        mean, deviation: what pictures with values from 0 to 1 are normalised with.
        name: where it comes from, for records.
        licence: of the weights, where known.
    """

    frozen: Frozen
    mean: tuple[float, ...] = IMAGENET_MEAN
    deviation: tuple[float, ...] = IMAGENET_DEVIATION
    name: str | None = None
    licence: str | None = None

    def normalised(self, pictures: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
        """Pictures with values from 0 to 1, as the network wants them."""
        mean = torch.tensor(self.mean, device=pictures.device).view(1, -1, 1, 1)
        deviation = torch.tensor(self.deviation, device=pictures.device).view(1, -1, 1, 1)
        return (pictures - mean) / deviation

    def logits(self, pictures: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        """What the network's own head answers.

        Raises:
            CannotLift: if it has no head.
        """
        answer = self.frozen(self.normalised(pictures))
        if not isinstance(answer, Tensor) or answer.ndim != 2:
            raise CannotLift(f"{self.name or 'the teacher'} does not answer with classes; open it with its head")
        return answer

    @torch.no_grad()
    def vectors(self, pictures: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch channels"]:
        """One vector for each picture: what the head would read, or the mean of the last map."""
        network = cast(Any, self.frozen.network)
        if not hasattr(network, "forward_head"):
            return self.maps(pictures).mean(dim=(2, 3))
        return network.forward_head(self._tokens(pictures), pre_logits=True)

    @torch.no_grad()
    def maps(self, pictures: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch channels h w"]:
        """The last map: patch tokens of a transformer on their grid, without class and register tokens.

        Of a timm network they are normed, as its head reads them.

        Raises:
            CannotLift: if the network gives no maps.
        """
        network = cast(Any, self.frozen.network)
        if not hasattr(network, "forward_intermediates"):
            handed_out = self.frozen(self.normalised(pictures))
            if isinstance(handed_out, Tensor):
                raise CannotLift(
                    f"{self.name or type(network).__name__} answers without maps; open it with features_only=True"
                )
            return handed_out[-1]
        network.eval()
        found = network.forward_intermediates(
            self.normalised(pictures), indices=1, norm=True, output_fmt="NCHW", intermediates_only=True
        )
        return found[-1]

    def _tokens(self, pictures: Tensor) -> Tensor:
        self.frozen.network.eval()
        return cast(Any, self.frozen.network).forward_features(self.normalised(pictures))


def open_teacher(
    name: str,
    *,
    pretrained: bool | None = None,
    weights: str | Path | None = None,
    download: bool = False,
    **options: Any,
) -> Teacher:
    """The teacher of a name, "timm:vit_small_patch14_dinov2", "packaged:efficientnet_lite0", ...

    Args:
        pretrained: read the source's own weights; if not said, a packaged network has them and any other is random.
        weights: a local file instead.
        download: fetch weights that are not on this machine.
        options: passed on to the source, for example `dynamic_img_size=True`.
    """
    from dimlift.backbones.open_network import open_network  # timm is heavy

    network, info = open_network(name, pretrained=pretrained, weights=weights, download=download, **options)
    return wrap_teacher(network, info.mean, info.std, info.name, info.licence)


def open_map_teacher(name: str, *, head: bool = False, **options: Any) -> Teacher:
    """The teacher of a name whose maps are wanted, of pictures of any size where the network allows it.

    Args:
        head: keep its head too; a network of transformers then answers with it alone.
        options: as of `open_teacher`.
    """
    if name.startswith("transformers:"):
        if not head:
            options["features_only"] = True
        return open_teacher(name, **options)
    try:
        return open_teacher(name, dynamic_img_size=True, **options)
    except TypeError as fault:
        if "dynamic_img_size" not in str(fault):
            raise
        return open_teacher(name, **options)


def wrap_teacher(
    network: nn.Module,
    mean: tuple[float, ...] | None = None,
    deviation: tuple[float, ...] | None = None,
    name: str | None = None,
    licence: str | None = None,
) -> Teacher:
    """A network that is at hand already; it is taken over, hand in a copy if it is used elsewhere."""
    return Teacher(Frozen(network), mean or IMAGENET_MEAN, deviation or IMAGENET_DEVIATION, name, licence)
