"""create_backbone: 2D networks by name. Each library is imported in one file, when a network of it is created."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from dimlift.backbones.info import BackboneInfo
from dimlift.backbones.load_report import LoadReport
from dimlift.errors import UnknownNameError

SOURCES = {
    "timm": "dimlift.backbones.timm.create_timm",
    "torchvision": "dimlift.backbones.torchvision.create_torchvision",
    "transformers": "dimlift.backbones.hf.create_hf",
    "smp": "dimlift.backbones.smp.create_smp",
    "packaged": "dimlift.backbones.packaged.create_packaged",
}
"""By the prefix of a name, the function that creates a network from the rest of the name."""

TIMM_HUB = ("hf-hub", "hf_hub")
"""Prefixes of timm for networks of the hub: "hf-hub:OWNER/NAME" is a name of timm."""


def create_backbone(
    name: str,
    *,
    pretrained: bool | None = None,
    download: bool = False,
    features_only: bool = False,
    image_size: int | tuple[int, int] | None = None,
    weights: str | Path | None = None,
    licence: str | None = None,
    **options: Any,
) -> tuple[nn.Module, BackboneInfo]:
    """Create a 2D network.

    Args:
        name: "timm:resnet18", "torchvision:resnet18", "transformers:FOLDER", "smp:Unet/resnet18",
            "packaged:efficientnet_lite0"; a name without a source means timm, and so does "hf-hub:OWNER/NAME".
        pretrained: load the source's own weights; False initialises randomly. None loads those of packaged networks and
            folders only.
        download: allow downloading weights that are not on this machine. Without it no network connection is made.
        features_only: return a list of maps instead of logits.
        image_size: (height, width), for networks built for one size.
        weights: a local .safetensors, .pt or .pth file to load.
        licence: of the weights, if the source does not state it.
        options: passed to the source.

    Returns:
        The network, and what is known of it.

    Raises:
        UnknownNameError: for a source or network that does not exist.
        WeightsError: if the file does not fit, or weights are not on this machine and `download` is False.
    """
    source, _, rest = name.partition(":")
    if source in TIMM_HUB:
        source, rest = "timm", name
    if not rest:
        source, rest = "timm", name
    if source not in SOURCES:
        raise UnknownNameError("source of networks", source, SOURCES)
    options |= {"features_only": features_only, "image_size": image_size}
    if weights is not None:
        pretrained = False
    if pretrained is not None:
        options["pretrained"] = pretrained
    module, _, function = SOURCES[source].rpartition(".")
    network, info = getattr(import_module(module), function)(rest, download=download, **options)
    options.pop("pretrained", None)
    if weights is not None:
        info = _load_file(source, rest, network, Path(weights), info, options)
    return network, info if licence is None else replace(info, licence=licence)


def _load_file(
    source: str, name: str, network: nn.Module, path: Path, info: BackboneInfo, options: dict[str, Any]
) -> BackboneInfo:
    from dimlift.backbones.licences import licence_of
    from dimlift.file_digest import file_sha256

    terms = licence_of(path.name, f"{source}:{name}")
    report = _load_weights(source, name, network, path, options)
    if report.in_chans is not None and info.mean is not None and info.std is not None:
        mean, std = (sum(values) / len(values) for values in (info.mean, info.std))
        info = replace(info, mean=(mean,) * report.in_chans, std=(std,) * report.in_chans)
    return replace(
        info,
        weights=str(path),
        sha256=file_sha256(path),
        licence=terms.licence,
        gated=terms.gated,
        load_report=report,
    )


def _load_weights(source: str, name: str, network: nn.Module, path: Path, options: dict[str, Any]) -> LoadReport:
    """Load a file by the tensor names that its source knows."""
    from dimlift.backbones.load_checkpoint import load_weights

    features_only = options["features_only"]
    if source == "timm":
        from dimlift.backbones.timm import meta_timm, timm_key_filter

        full = meta_timm(name, **options | {"features_only": False}) if features_only else network
        return load_weights(network, path, full.state_dict() if features_only else (), timm_key_filter(full))
    if source == "torchvision" and features_only:
        from dimlift.backbones.torchvision import full_model_keys

        return load_weights(network, path, full_model_keys(name))
    if source == "transformers":
        from dimlift.backbones.hf import hf_key_filter

        return load_weights(network, path, (), hf_key_filter(network))
    return load_weights(network, path)
