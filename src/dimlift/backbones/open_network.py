"""Where 2D networks come from. Each library is imported in one file, and only when it is asked for."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from dimlift.backbones.info import SourceInfo
from dimlift.backbones.load_report import Reading
from dimlift.errors import UnknownName

KINDS = ("timm", "torchvision", "transformers", "smp", "packaged")


def open_network(
    name: str,
    *,
    pretrained: bool | None = None,
    download: bool = False,
    features_only: bool = False,
    image_size: int | tuple[int, int] | None = None,
    weights: str | Path | None = None,
    licence: str | None = None,
    **options: Any,
) -> tuple[nn.Module, SourceInfo]:
    """Open a plain 2D network.

    Args:
        name: "timm:resnet18", "torchvision:resnet18", "transformers:FOLDER", "smp:Unet/resnet18",
            "packaged:efficientnet_lite0"; a bare name means timm.
        pretrained: read the source's own weights; False draws random ones. If not said, networks of packages and of
            folders have the weights that lie there, and any other has random ones.
        download: fetch them if they are not on this machine. Without it the network is not asked for anything.
        features_only: a list of maps instead of logits.
        image_size: (height, width) for networks built for one size.
        weights: a local .safetensors, .pt or .pth file to fill it from.
        licence: of the weights, where the source does not state it.
        options: passed on to the source.

    Raises:
        UnknownName: for a source or network that does not exist.
        WeightsError: if the file does not fit, or weights are not here and must not be fetched.
    """
    kind, _, rest = name.partition(":")
    if not rest:
        kind, rest = "timm", name
    if kind not in KINDS:
        raise UnknownName("source of networks", kind, KINDS)
    options |= {"features_only": features_only, "image_size": image_size}
    network, info = _open(kind, rest, pretrained if weights is None else False, download, options)
    if weights is not None:
        from dimlift.backbones.checkpoint_file import digest
        from dimlift.backbones.licences import terms_of

        terms = terms_of(Path(weights).name, name)
        reading = _fill(kind, rest, network, Path(weights), options)
        info = replace(
            info,
            weights=str(weights),
            sha256=digest(Path(weights)),
            licence=terms.licence,
            gated=terms.gated,
            reading=reading,
        )
    return network, info if licence is None else replace(info, licence=licence)


def _open(
    kind: str, rest: str, pretrained: bool | None, download: bool, options: dict[str, Any]
) -> tuple[nn.Module, SourceInfo]:
    if kind == "packaged":
        from dimlift.backbones.packaged import open_packaged

        return open_packaged(rest, pretrained=pretrained is not False, **options)
    if kind == "transformers":
        from dimlift.backbones.hf import open_transformers

        return open_transformers(rest, pretrained=pretrained is not False, download=download, **options)
    if kind == "smp":
        from dimlift.backbones.smp import open_smp

        return open_smp(rest, pretrained=bool(pretrained), download=download, **options)
    if kind == "torchvision":
        from dimlift.backbones.torchvision import open_torchvision

        return open_torchvision(rest, pretrained=bool(pretrained), download=download, **options)
    from dimlift.backbones.timm import open_timm

    return open_timm(rest, pretrained=bool(pretrained), download=download, **options)


def _fill(kind: str, rest: str, network: nn.Module, path: Path, options: dict[str, Any]) -> Reading:
    """Load a file into a network, by the names its source knows."""
    from dimlift.backbones.load_checkpoint import load_weights

    part = options["features_only"]
    if kind == "timm":
        from dimlift.backbones.timm import adapt, hollow

        whole = hollow(rest, **options | {"features_only": False}) if part else network
        return load_weights(network, path, whole.state_dict() if part else (), adapt(whole))
    if kind == "torchvision" and part:
        from dimlift.backbones.torchvision import keys_of_whole

        return load_weights(network, path, keys_of_whole(rest))
    if kind == "transformers":
        from dimlift.backbones.hf import adapt_to

        return load_weights(network, path, (), adapt_to(network))
    return load_weights(network, path)


__all__ = ["SourceInfo", "open_network"]
