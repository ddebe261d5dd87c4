"""Networks of timm. The only file that imports it."""

import contextlib
import io
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dimlift.backbones.checkpoint_file import digest, read_tensors
from dimlift.backbones.download import address_file, hub_file
from dimlift.backbones.info import SourceInfo
from dimlift.backbones.licences import terms_of
from dimlift.backbones.load_checkpoint import Adapt, read_by_name
from dimlift.backbones.load_report import Reading
from dimlift.backbones.timm_hybrid import HybridMaps, is_hybrid
from dimlift.backbones.torchvision_ops import ensure_torchvision_imports
from dimlift.errors import PlanError, UnknownName, WeightsError


def open_timm(
    name: str,
    *,
    pretrained: bool = False,
    download: bool = False,
    features_only: bool = False,
    image_size: int | tuple[int, int] | None = None,
    **options: Any,
) -> tuple[nn.Module, SourceInfo]:
    """Build a timm network.

    Args:
        name: timm's name, with or without a tag ("convnext_tiny.fb_in22k").
        pretrained: read timm's weights from the cache.
        download: fetch them if they are not there.
        features_only: a list of maps instead of logits.
        image_size: for networks built for one size (most ViTs); convolutional networks take any and ignore it.
        options: passed on to timm.create_model.

    Raises:
        UnknownName: if timm has no such network.
        WeightsError: if the weights are not on this machine and must not be fetched.
        PlanError: if timm cannot give maps of this network, or not at this size.
    """
    ensure_torchvision_imports()
    import timm

    known = timm.list_models()
    if name.split(".")[0] not in known:
        raise UnknownName("timm network", name, known)
    if "." in name and name not in timm.list_pretrained():
        raise UnknownName("timm weights", name, timm.list_pretrained(f"{name.split('.')[0]}.*"))
    info, tensors = SourceInfo(None), {}
    if pretrained:
        path, address = locate(name, download)
        # as a state dict: timm would unpickle a file, and ask the hub about one it has
        tensors = read_tensors(path)
        options["pretrained_cfg_overlay"] = {"state_dict": dict(tensors)}
        terms = terms_of(address, name)
        info = replace(info, weights=address, sha256=digest(path), licence=terms.licence, gated=terms.gated)
    if image_size is not None:
        options["img_size"] = image_size
    hybrid = timm.models.is_model_in_modules(name.split(".")[0], ["vision_transformer_hybrid"])
    if hybrid and features_only and "out_indices" not in options:
        network = timm.create_model(name, pretrained=pretrained, num_classes=0, **options)
        if is_hybrid(network):
            return HybridMaps(network), _stated(network, name, info, tensors)
    try:
        network = timm.create_model(name, pretrained=pretrained, features_only=features_only, **options)
    except TypeError as fault:
        if image_size is None or "img_size" not in str(fault):
            raise
        del options["img_size"]
        network = timm.create_model(name, pretrained=pretrained, features_only=features_only, **options)
    except (RuntimeError, AssertionError, AttributeError, IndexError) as fault:
        if not features_only:
            raise
        asked = options.get("out_indices")
        raise PlanError(
            f"timm cannot give the maps {'' if asked is None else f'{list(asked)} '}of {name}: {fault}; "
            + ("choose another, or lift it with features_only=False" if asked is None else "ask for fewer, from 0 on")
        ) from fault
    _cut_behind_the_last_map(network)
    return network, _stated(network, name, info, tensors)


def _cut_behind_the_last_map(network: nn.Module) -> None:
    """timm's EfficientNets and MobileNets compute all their blocks, whichever maps are asked for."""
    stages = getattr(network, "_stage_out_idx", None)
    if stages and isinstance(blocks := getattr(network, "blocks", None), nn.Sequential):
        network.blocks = blocks[: max(stages)]


def _stated(network: nn.Module, name: str, read: SourceInfo, tensors: dict[str, Tensor]) -> SourceInfo:
    """What is known of the network and of the weights read into it, which timm keeps among its settings: not here."""
    for module in network.modules():
        settings: Any = getattr(module, "pretrained_cfg", None)
        if isinstance(settings, dict):
            settings.pop("state_dict", None)
    told = describe(network, name)
    licence = None if read.weights == "random" else told.licence or read.licence
    reading = read_by_name(tensors, network) if tensors else Reading()
    return replace(told, licence=licence, weights=read.weights, sha256=read.sha256, gated=read.gated, reading=reading)


def hollow(name: str, **options: Any) -> nn.Module:
    """The network with its head and without numbers, built as `open_timm` would for its maps."""
    options = {key: value for key, value in options.items() if key not in ("out_indices", "output_stride")}
    with torch.device("meta"):
        return open_timm(name, **options)[0]


def adapt(whole: nn.Module) -> Adapt:
    """Original names into timm's, by the filter timm itself has for this network; tables for another image are resized.

    Args:
        whole: the network with its head; only its shapes are read.
    """
    filters = getattr(sys.modules[type(whole).__module__], "checkpoint_filter_fn", None)

    def filtered(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        with contextlib.redirect_stdout(io.StringIO()):  # timm prints what it could not find
            return tensors if filters is None else dict(filters(tensors, whole))

    return filtered


def locate(name: str, download: bool) -> tuple[Path, str]:
    """The file of timm's own weights for a network, and where it comes from.

    Raises:
        WeightsError: if there is none, or it is not here and must not be fetched.
    """
    from timm.models import get_pretrained_cfg

    settings = get_pretrained_cfg(name)
    place = getattr(settings, "hf_hub_id", None)
    if place is not None:
        place = place if not place.endswith("/") else f"{place}{name}"
        one = getattr(settings, "hf_hub_filename", None)
        files = (one,) if one else ("model.safetensors", "pytorch_model.bin")
        return hub_file(f"timm's {name}", place, files, download=download), place
    address = getattr(settings, "url", None)
    if not address or getattr(settings, "custom_load", False):
        raise WeightsError(f"timm has no weights for {name} that it could fetch; lift it with weights=FILE")
    return address_file(f"timm's {name}", address, download=download), address


def describe(network: nn.Module, name: str | None = None) -> SourceInfo:
    """What a timm network says of itself; of any other module, nothing."""
    settings = getattr(network, "pretrained_cfg", None) or {}
    size = settings.get("input_size")
    return SourceInfo(
        name=f"timm:{name}" if name else None,
        licence=settings.get("license"),
        mean=settings.get("mean"),
        std=settings.get("std"),
        size=tuple(size[-2:]) if size else None,
    )
