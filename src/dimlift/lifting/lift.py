"""Lift a 2D network: copy it, let its layers talk, and check that it still answers as it did."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from dimlift.backbones.hf_adapter import as_images_to_tensors, is_of_transformers
from dimlift.backbones.open_network import SourceInfo, open_network
from dimlift.errors import CannotLift, PlanError
from dimlift.lifting.certify.weight_report import shapes_of
from dimlift.lifting.converter import build, plan_fits
from dimlift.lifting.depth_plan import DepthPlan, positive
from dimlift.lifting.input_size import resize
from dimlift.lifting.lifted_module import Lifted
from dimlift.lifting.stages import plan_stages
from dimlift.lifting.stem import Normalisation, image_channels, image_readers, refinement, share_colours


def lift(
    network: nn.Module | str | Path,
    plan: DepthPlan = DepthPlan(),  # noqa: B008 - a frozen value
    *,
    in_channels: int | None = None,
    colours: bool = True,
    pretrained: bool | None = None,
    download: bool = False,
    weights: str | Path | None = None,
    image_size: int | tuple[int, int] | None = None,
    features_only: bool = False,
    certify: bool = True,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    stem_stride: int | None = None,
    stages: int | None = None,
    enlarge: int = 1,
    licence: str | None = None,
    **options: Any,
) -> Lifted:
    """Give a 2D network a third dimension.

    Args:
        network: a live module (also one of transformers), which is left untouched, or the name of one
            ("timm:resnet18", "transformers:FOLDER", "smp:Unet/resnet18", "packaged:efficientnet_lite0").
        plan: how its slices talk.
        in_channels: channels of the volumes; those of the 2D network if not given.
        colours: False shares the first kernel's colours equally among the channels, also where a volume has as many.
        pretrained: for a name, read the source's own weights; False draws random ones. If not said, only packaged
            networks come with theirs.
        download: allow the source to fetch them if they are not on this machine.
        weights: for a name, a local .safetensors, .pt or .pth file to fill it from.
        image_size: (height, width) of the slices, for networks bound to one size.
        features_only: for a name or a module of transformers, hand out a list of maps instead of logits.
        certify: try the laws on a small input; without it a large network lifts in seconds.
        mean: if given with `std`, the lifted network takes images on that scale and normalises by itself.
        std: see `mean`.
        stem_stride: step of the first convolution, for finer maps than the 2D network's.
        stages: for a name with features_only, keep the first so many maps and drop what comes after.
        enlarge: show the network each slice so many times as high and wide; its maps are finer by as much.
        licence: of the weights, where the source does not state it; it is written into the weights folder.
        options: for a name, passed on to the source.

    Raises:
        PlanError: if the plan does not fit the network; nothing has been built or changed then.
        CannotLift: if a layer has no known 3D counterpart, or a law the plan promises does not hold.
        UnknownName: if the source has no such network.
        WeightsError: if weights do not fit, or are not on this machine and must not be fetched.
    """
    for what, given in {"in_channels": in_channels, "stages": stages, "image_size": image_size}.items():
        numbers = given if isinstance(given, tuple | list) else (given,)
        if given is not None and not all(positive(number) for number in numbers):
            raise PlanError(
                f"{what} takes whole numbers from 1 upwards, got {given!r}; leave it out to keep the network's"
            )
    if stages is not None:
        if not isinstance(network, str | Path) or not features_only:
            raise PlanError(
                "stages= cuts a network opened by name with features_only=True; of a module of yours, leave the last "
                "maps out yourself"
            )
        options["out_indices"] = tuple(range(stages))
    info: SourceInfo
    if isinstance(network, str | Path):
        flat, info = open_network(
            str(network),
            pretrained=pretrained,
            download=download,
            features_only=features_only,
            image_size=image_size,
            weights=weights,
            licence=licence,
            **options,
        )
        plan = plan_stages(plan, flat, max(enlarge, 1) * refinement(flat, stem_stride))
        plan_fits(flat, plan)
        before = shapes_of(flat) | {key: shape for key, (shape, _) in info.reading.resized.items()}
    else:
        theirs = isinstance(network, nn.Module) and is_of_transformers(network)
        if pretrained or weights is not None or (features_only and not theirs) or options:
            raise PlanError(
                "pretrained, weights, features_only and further options open a network by its name; "
                "give them to whoever made this module"
            )
        if isinstance(network, Lifted):
            raise CannotLift("this network is lifted already; give lift the 2D network, with the plan you want now")
        if not isinstance(network, nn.Module):
            raise CannotLift(
                f"lift takes a 2D nn.Module or the name of one ('timm:resnet18'), got {type(network).__name__}"
            )
        flat, info = copy.deepcopy(network), _described(network)
        info = info if licence is None else replace(info, licence=licence)
        if theirs:
            flat = as_images_to_tensors(flat, features_only)
        plan = plan_stages(plan, flat, max(enlarge, 1) * refinement(flat, stem_stride))
        plan_fits(flat, plan)
        before = shapes_of(flat)
        if image_size is not None:
            resize(flat, image_size)
    if not colours:
        share_colours(image_readers(flat))
    lifted = build(
        flat,
        info,
        plan,
        before,
        in_channels=in_channels,
        certify=certify,
        normalisation=Normalisation(mean, std, image_channels(flat)),
        stem_stride=stem_stride,
    )
    lifted.show_enlarged(enlarge)
    return lifted


def _described(network: nn.Module) -> SourceInfo:
    settings = getattr(network, "pretrained_cfg", None) or {}
    name = settings.get("architecture") if isinstance(settings, dict) else None
    size = settings.get("input_size") if isinstance(settings, dict) else None
    info = SourceInfo(None, settings.get("license") if settings else None)
    return replace(info, size=tuple(size[-2:]) if size else None, weights="live module" if name is None else name)
