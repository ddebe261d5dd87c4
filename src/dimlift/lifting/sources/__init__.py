"""Where 2D networks come from. Each library is imported in one file, and only when it is asked for."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from dimlift.errors import UnknownName
from dimlift.lifting.sources.source import SourceInfo

KINDS = ("timm", "torchvision", "packaged")


def open_network(
    name: str,
    *,
    pretrained: bool | None = None,
    download: bool = False,
    features_only: bool = False,
    image_size: int | tuple[int, int] | None = None,
    weights: str | Path | None = None,
    **options: Any,
) -> tuple[nn.Module, SourceInfo]:
    """Open a plain 2D network.

    Args:
        name: "timm:resnet18", "torchvision:resnet18", "packaged:efficientnet_lite0"; a bare name means timm.
        pretrained: read the source's own weights; False draws random ones. If not said, a packaged network has its
            weights, which lie on this machine, and any other has random ones.
        download: fetch them if they are not on this machine.
        features_only: a list of maps instead of logits.
        image_size: (height, width) for networks built for one size.
        weights: a local .safetensors, .pt or .pth file to fill it from.
        options: passed on to the source.

    Raises:
        UnknownName: for a source or network that does not exist.
        WeightsError: if the file does not fit.
    """
    kind, _, rest = name.partition(":")
    if not rest:
        kind, rest = "timm", name
    whole: Callable[[str], list[str]] | None = None
    if kind in ("timm", "torchvision"):
        if kind == "timm":
            from dimlift.lifting.sources.timm import keys_of_whole
            from dimlift.lifting.sources.timm import open_timm as open_named
        else:
            from dimlift.lifting.sources.torchvision import keys_of_whole
            from dimlift.lifting.sources.torchvision import open_torchvision as open_named

        whole = keys_of_whole
        network, info = open_named(
            rest,
            pretrained=bool(pretrained),
            download=download,
            features_only=features_only,
            image_size=image_size,
            **options,
        )
    elif kind == "packaged":
        from dimlift.lifting.sources.packaged import open_packaged

        network, info = open_packaged(
            rest, pretrained=pretrained is not False, features_only=features_only, image_size=image_size, **options
        )
    else:
        raise UnknownName("source of networks", kind, KINDS)
    if weights is not None:
        from dimlift.lifting.sources.files import load_weights

        load_weights(network, Path(weights), whole(rest) if whole is not None and features_only else ())
        info = replace(info, weights=str(weights))
    return network, info


__all__ = ["SourceInfo", "open_network"]
