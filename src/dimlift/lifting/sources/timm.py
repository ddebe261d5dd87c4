"""Networks of timm. The only file that imports it."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from dimlift.errors import PlanError, UnknownName, WeightsError
from dimlift.lifting.sources.hybrid import HybridMaps, is_hybrid
from dimlift.lifting.sources.source import SourceInfo
from dimlift.lifting.sources.torchvision_operators import ensure_torchvision_imports


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
    if pretrained and not download:
        _must_be_cached(name)
    if image_size is not None:
        options["img_size"] = image_size
    hybrid = timm.models.is_model_in_modules(name.split(".")[0], ["vision_transformer_hybrid"])
    if hybrid and features_only and "out_indices" not in options:
        network = timm.create_model(name, pretrained=pretrained, num_classes=0, **options)
        if is_hybrid(network):
            return HybridMaps(network), replace(
                describe(network, name), weights="pretrained" if pretrained else "random"
            )
    try:
        network = timm.create_model(name, pretrained=pretrained, features_only=features_only, **options)
    except TypeError as fault:
        if image_size is None or "img_size" not in str(fault):
            raise
        del options["img_size"]
        network = timm.create_model(name, pretrained=pretrained, features_only=features_only, **options)
    except (RuntimeError, AssertionError, AttributeError) as fault:
        if not features_only:
            raise
        raise PlanError(
            f"timm cannot give the maps of {name}: {fault}; lift it with features_only=False, or choose another"
        ) from fault
    info = describe(network, name)
    return network, replace(info, weights="pretrained" if pretrained else "random")


def keys_of_whole(name: str) -> list[str]:
    """Keys of the network with its head, from a build without numbers."""
    with torch.device("meta"):
        network, _ = open_timm(name)
    return list(network.state_dict())


def _must_be_cached(name: str) -> None:
    from timm.models import get_pretrained_cfg

    settings = get_pretrained_cfg(name)
    place = getattr(settings, "hf_hub_id", None)
    if settings is None or place is None:
        raise WeightsError(f"timm has no weights for {name} that it could fetch; lift it with weights=FILE")
    from huggingface_hub import try_to_load_from_cache

    place = place if not place.endswith("/") else f"{place}{name}"
    for file in ("model.safetensors", "pytorch_model.bin"):
        if isinstance(try_to_load_from_cache(place, file), str):
            return
    raise WeightsError(
        f"the weights of {name} are not on this machine; allow fetching them with download=True (--download), "
        "or give a local file with weights="
    )


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
