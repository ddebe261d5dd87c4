"""Networks of timm. The only file that imports it."""

import contextlib
import io
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dimlift.backbones.checkpoint_file import read_tensors
from dimlift.backbones.download import cached_hub_file, cached_url_file
from dimlift.backbones.info import BackboneInfo
from dimlift.backbones.licences import licence_of
from dimlift.backbones.load_checkpoint import KeyFilter, match_by_name
from dimlift.backbones.load_report import LoadReport
from dimlift.backbones.timm_hub import HUB_PREFIXES, open_hub_network
from dimlift.backbones.timm_hybrid import HybridFeatures, is_hybrid
from dimlift.backbones.torchvision_ops import ensure_torchvision_imports
from dimlift.errors import PlanError, UnknownNameError, WeightsError
from dimlift.file_digest import file_sha256


def create_timm(
    name: str,
    *,
    pretrained: bool = False,
    download: bool = False,
    features_only: bool = False,
    image_size: int | tuple[int, int] | None = None,
    **options: Any,
) -> tuple[nn.Module, BackboneInfo]:
    """Create a timm network.

    Args:
        name: timm's name, with or without a tag ("convnext_tiny.fb_in22k"), or "hf-hub:OWNER/NAME".
        pretrained: load timm's weights from the cache.
        download: download them if they are not there.
        features_only: return a list of maps instead of logits.
        image_size: for networks built for one size (most ViTs); convolutional networks accept any and ignore it.
        options: passed to timm.create_model.

    Raises:
        UnknownNameError: if timm has no such network.
        WeightsError: if the weights are not on this machine and `download` is False.
        PlanError: if timm cannot return maps of this network, or not at this size.
    """
    ensure_torchvision_imports()
    import timm

    given, hub = name, open_hub_network(name, download) if name.startswith(HUB_PREFIXES) else None
    if hub is not None:
        name, options = hub.architecture, hub.arguments | options
    known = timm.list_models()
    if name.split(".")[0] not in known:
        raise UnknownNameError("timm network", name, known)
    if hub is None and "." in name and name not in timm.list_pretrained():
        raise UnknownNameError("timm weights", name, timm.list_pretrained(f"{name.split('.')[0]}.*"))
    origin, tensors = BackboneInfo(None), {}
    if pretrained:
        path, address = pretrained_file(name, download) if hub is None else (hub.weights_file(download), hub.repository)
        # passed as a state dict: timm would unpickle a file, and would query the hub about a cached one
        tensors = read_tensors(path)
        options["pretrained_cfg_overlay"] = {"state_dict": dict(tensors)}
        terms = licence_of(address, given)
        origin = replace(origin, weights=address, sha256=file_sha256(path), licence=terms.licence, gated=terms.gated)
    if image_size is not None:
        options["img_size"] = image_size
    hybrid = timm.models.is_model_in_modules(name.split(".")[0], ["vision_transformer_hybrid"])
    if hybrid and features_only and "out_indices" not in options:
        network = timm.create_model(name, pretrained=pretrained, num_classes=0, **options)
        if is_hybrid(network):
            return HybridFeatures(network), _merge_info(network, given, origin, tensors)
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
        indices = options.get("out_indices")
        raise PlanError(
            f"timm cannot return the maps {'' if indices is None else f'{list(indices)} '}of {name}: {fault}; "
            + ("choose another, or lift it with features_only=False" if indices is None else "use fewer, from 0 on")
        ) from fault
    _drop_unused_blocks(network)
    return network, _merge_info(network, given, origin, tensors)


def _drop_unused_blocks(network: nn.Module) -> None:
    """Drop blocks after the last map: timm's EfficientNets and MobileNets run them whichever maps are requested."""
    stages = getattr(network, "_stage_out_idx", None)
    if stages and isinstance(blocks := getattr(network, "blocks", None), nn.Sequential):
        network.blocks = blocks[: max(stages)]


def _merge_info(network: nn.Module, name: str, origin: BackboneInfo, tensors: dict[str, Tensor]) -> BackboneInfo:
    """Combine what timm states of the network with the origin of its weights."""
    for module in network.modules():
        settings: Any = getattr(module, "pretrained_cfg", None)
        if isinstance(settings, dict):
            settings.pop("state_dict", None)  # timm would keep the weights among its settings
    info = timm_info(network, name)
    licence = None if origin.weights == "random" else info.licence or origin.licence
    report = match_by_name(tensors, network) if tensors else LoadReport()
    return replace(
        info, licence=licence, weights=origin.weights, sha256=origin.sha256, gated=origin.gated, load_report=report
    )


def meta_timm(name: str, **options: Any) -> nn.Module:
    """Create the network with its head on the meta device."""
    options = {key: value for key, value in options.items() if key not in ("out_indices", "output_stride")}
    with torch.device("meta"):
        return create_timm(name, **options)[0]


def timm_key_filter(full: nn.Module) -> KeyFilter:
    """Return timm's own filter from original tensor names to timm's; it resizes tables for another image size.

    Args:
        full: the network with its head; only its shapes are read.
    """
    filters = getattr(sys.modules[type(full).__module__], "checkpoint_filter_fn", None)

    def filtered(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        with contextlib.redirect_stdout(io.StringIO()):  # timm prints the keys it did not find
            return tensors if filters is None else dict(filters(tensors, full))

    return filtered


def pretrained_file(name: str, download: bool) -> tuple[Path, str]:
    """Return the file of timm's own weights for a network, and its repository or URL.

    Raises:
        WeightsError: if there is none, or it is not on this machine and `download` is False.
    """
    from timm.models import get_pretrained_cfg

    cfg = get_pretrained_cfg(name)
    repository = getattr(cfg, "hf_hub_id", None)
    if repository is not None:
        repository = repository if not repository.endswith("/") else f"{repository}{name}"
        file = getattr(cfg, "hf_hub_filename", None)
        files = (file,) if file else ("model.safetensors", "pytorch_model.bin")
        return cached_hub_file(f"timm's {name}", repository, files, download=download), repository
    url = getattr(cfg, "url", None)
    if not url or getattr(cfg, "custom_load", False):
        raise WeightsError(f"timm has no weights to download for {name}; lift it with weights=FILE")
    return cached_url_file(f"timm's {name}", url, download=download), url


def timm_info(network: nn.Module, name: str | None = None) -> BackboneInfo:
    """Return what a timm network states of itself; of any other module, nothing."""
    cfg = getattr(network, "pretrained_cfg", None) or {}
    size = cfg.get("input_size")
    return BackboneInfo(
        name=f"timm:{name}" if name else None,
        licence=cfg.get("license"),
        mean=cfg.get("mean"),
        std=cfg.get("std"),
        size=tuple(size[-2:]) if size else None,
    )
