"""Lift a 2D network: copy it, let its layers talk, and check that it still answers as it did."""

import copy
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from dimlift.errors import CannotLift, PlanError
from dimlift.lifting.certificate import Certificate, Layer
from dimlift.lifting.claims import unclaimed
from dimlift.lifting.intake import Normalisation, image_readers, refine_stem
from dimlift.lifting.lifted import Lifted, on_meta
from dimlift.lifting.placing import Place, place_convolutions
from dimlift.lifting.plan import DepthPlan
from dimlift.lifting.sources import SourceInfo, open_network
from dimlift.lifting.stages import check_reduction, stages_of
from dimlift.lifting.talk.convolution import lift_convolution
from dimlift.lifting.talk.heads import SliceHead
from dimlift.lifting.talk.reduction import Reduction
from dimlift.lifting.trial import measure, try_flat
from dimlift.lifting.weights import compare_shapes, shapes_of


def lift(
    network: nn.Module | str | Path,
    plan: DepthPlan = DepthPlan(),  # noqa: B008 - a frozen value
    *,
    in_channels: int | None = None,
    pretrained: bool = False,
    download: bool = False,
    weights: str | Path | None = None,
    image_size: int | tuple[int, int] | None = None,
    features_only: bool = False,
    certify: bool = True,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    stem_stride: int | None = None,
    stages: int | None = None,
    **options: Any,
) -> Lifted:
    """Give a 2D network a third dimension.

    Args:
        network: a live module, which is left untouched, or the name of one ("timm:resnet18",
            "packaged:efficientnet_lite0").
        plan: how its slices talk.
        in_channels: channels of the volumes; those of the 2D network if not given.
        pretrained: for a name, read the source's own weights.
        download: allow the source to fetch them if they are not on this machine.
        weights: for a name, a local .safetensors, .pt or .pth file to fill it from.
        image_size: (height, width) of the slices, for networks bound to one size.
        features_only: for a name, hand out a list of maps instead of logits.
        certify: try the laws on a small input; without it a large network lifts in seconds.
        mean, std: if given, the lifted network takes images on the scale they describe and normalises by itself.
        stem_stride: step of the first convolution, for finer maps than the 2D network's.
        stages: for a name with features_only, keep the first so many maps and drop what comes after.
        options: for a name, passed on to the source.

    Raises:
        PlanError: if the plan does not fit the network; nothing has been built or changed then.
        CannotLift: if a layer has no known 3D counterpart, or a law the plan promises does not hold.
        UnknownName: if the source has no such network.
        WeightsError: if weights do not fit, or are not on this machine and must not be fetched.
    """
    if stages is not None:
        if not isinstance(network, str | Path) or not features_only:
            raise PlanError(
                "stages= cuts a network opened by name with features_only=True; give timm out_indices= else"
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
            **options,
        )
        _plan_fits(flat, plan)
    else:
        if pretrained or weights is not None or features_only or options:
            raise PlanError(
                "pretrained, weights, features_only and further options open a network by its name; "
                "give them to whoever made this module"
            )
        if not isinstance(network, nn.Module) or isinstance(network, Lifted):
            raise CannotLift(f"lift takes a 2D nn.Module or its name, got {type(network).__name__}")
        _plan_fits(network, plan)
        flat, info = copy.deepcopy(network), _described(network)
        if image_size is not None:
            _resize(flat, image_size)
    return _lift_own(flat, info, plan, in_channels, certify, mean, std, stem_stride)


def _plan_fits(network: nn.Module, plan: DepthPlan) -> list[Place]:
    stages = stages_of(network)
    check_reduction(stages, plan.reduce)
    return place_convolutions(network, plan, stages)


def _lift_own(
    flat: nn.Module,
    info: SourceInfo,
    plan: DepthPlan,
    in_channels: int | None,
    certify: bool,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    stem_stride: int | None,
) -> Lifted:
    """Lift a network that is ours to change."""
    started = time.perf_counter()
    training = {name: module.training for name, module in flat.named_modules()}
    flat.eval()
    readers = image_readers(flat)
    before = shapes_of(flat)
    image_channels = next(iter(readers.values())).in_channels
    in_channels = image_channels if in_channels is None else in_channels
    normalisation = Normalisation(mean, std, image_channels)
    if stem_stride is not None:
        refine_stem(readers, stem_stride)
    bound = bound_size(flat)
    trial = try_flat(flat, in_channels, bound, normalisation) if certify else None
    places = _plan_fits(flat, plan)

    lifted = Lifted(flat, plan, info, in_channels)
    lifted.image_size = bound
    _normalise(lifted, normalisation, readers)
    lifted_names = {place.name for place in places}
    if in_channels != image_channels:
        for name, reader in readers.items():
            if name not in lifted_names:
                lift_convolution(reader, name, 1, channels=in_channels)
    layers = []
    for place in places:
        channels = in_channels if place.name in readers else None
        lift_convolution(
            cast(nn.Conv2d, flat.get_submodule(place.name)),
            place.name,
            place.k,
            profile=plan.profile,
            axes=place.axes,
            tubelets=place.tubelets,
            factorised=place.factorised,
            channels=channels,
        )
        layers.append(Layer(place.name, _how(place)))
    for index, (stage, factor) in enumerate(zip(stages_of(flat), plan.reduce, strict=False)):
        if factor > 1:
            flat.get_submodule(stage.module).register_forward_hook(Reduction(factor), prepend=True)
            layers.append(Layer(f"stage {index} ({stage.module})", f"depth averaged by {factor}"))

    tried = (trial.slices.shape[-2], trial.slices.shape[-1]) if trial else info.size
    _describe_maps(lifted, bound or tried or (224, 224))
    after = {name.removeprefix("network."): shape for name, shape in shapes_of(lifted).items()}
    lifted.weights_report = compare_shapes(before, after)
    if trial is not None:
        claims = measure(lifted, trial, plan, unclaimed(plan, places))
        lifted.certificate = Certificate(
            info.name,
            tuple(layers),
            lifted.weights_report,
            claims,
            (1, in_channels, *trial.volume(False).shape[2:]),
            time.perf_counter() - started,
        )
        broken = [claim for claim in claims if not claim.holds]
        if broken:
            raise CannotLift(
                f"{info.name or type(flat).__name__}: the law of {broken[0].law} should hold under this plan, but its "
                f"error is {broken[0].error} (allowed {broken[0].tolerance}); a layer mixes slices in a way that is "
                "not known here. certify=False lifts it all the same"
            )
    for name, module in flat.named_modules():
        module.training = training.get(name, module.training)
    lifted.training = flat.training
    return lifted


def _how(place: Place) -> str:
    what = "factorised kernel" if place.factorised else "kernel"
    where = "" if place.axes == ("depth",) else f" along {', '.join(place.axes)}"
    return f"{what} over {place.k} slices{where}{', as tubelets' if place.tubelets else ''}"


def _normalise(lifted: Lifted, normalisation: Normalisation, readers: dict[str, nn.Conv2d]) -> None:
    """Put mean and std where they belong."""
    same = lifted.in_channels == next(iter(readers.values())).in_channels

    def buffer(values: torch.Tensor) -> torch.Tensor:
        values = values if same else values.mean().expand(lifted.in_channels)
        weight = next(iter(readers.values())).weight
        return values.to(weight).view(1, -1, 1, 1, 1)

    if normalisation.mean is not None:
        lifted.input_mean = buffer(normalisation.mean)
    if normalisation.std is None:
        return
    if not normalisation.scale_kernels(readers):
        lifted.input_scale = buffer(1 / normalisation.std)
    elif same:
        lifted.folded_std = dict.fromkeys(readers, normalisation.std)


def bound_size(network: nn.Module) -> tuple[int, int] | None:
    """The image size a network insists on; None if it takes others."""
    for module in network.modules():
        size = getattr(module, "img_size", None)
        strict = getattr(module, "strict_img_size", False) and not getattr(module, "dynamic_img_pad", False)
        if strict and size is not None and hasattr(module, "patch_size"):
            return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    return None


def _resize(network: nn.Module, image_size: int | tuple[int, int]) -> None:
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    setters = [m for m in network.modules() if hasattr(m, "set_input_size") and hasattr(m, "patch_embed")]
    if setters:
        setters[0].set_input_size(img_size=size)  # type: ignore[operator]
    elif bound_size(network) not in (None, size):
        raise PlanError(f"this network is bound to {bound_size(network)} and cannot be resized; build it for {size}")


def _describe_maps(lifted: Lifted, size: tuple[int, int]) -> None:
    """Channels and strides of the maps, from a run on shapes alone."""
    plan = lifted.plan
    depth = 1
    for factor in plan.reduce:
        depth *= factor
    for module in lifted.modules():
        depth *= getattr(module, "depth_size", 1) if getattr(module, "tubelets", False) else 1
    shape = (1, lifted.in_channels, depth, int(size[0]), int(size[1]))
    try:
        out = on_meta(lifted, shape)
    except (RuntimeError, NotImplementedError, TypeError):  # not every operator knows how to run on shapes
        with torch.no_grad():
            weight = next(lifted.parameters())
            out = lifted(torch.zeros(shape, dtype=weight.dtype, device=weight.device))
    maps = out if isinstance(out, list) else [out]
    lifted.channels = tuple(m.shape[1] for m in maps)
    if maps[0].ndim == 5:
        lifted.strides = tuple(
            tuple(max(1, round(a / b)) for a, b in zip(shape[2:], m.shape[2:], strict=True))  # type: ignore[misc]
            for m in maps
        )
    elif maps[0].ndim in (2, 3):
        lifted.channels = (maps[0].shape[-1],)
        lifted.head = SliceHead(plan.head, maps[0].shape[-1]).to(next(lifted.parameters()))


def _described(network: nn.Module) -> SourceInfo:
    settings = getattr(network, "pretrained_cfg", None) or {}
    name = settings.get("architecture") if isinstance(settings, dict) else None
    size = settings.get("input_size") if isinstance(settings, dict) else None
    info = SourceInfo(None, settings.get("license") if settings else None)
    return replace(info, size=tuple(size[-2:]) if size else None, weights="live module" if name is None else name)
