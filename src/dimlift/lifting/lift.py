"""lift: convert a 2D network into one that reads volumes, and certify the result."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dimlift.backbones.factory import create_backbone
from dimlift.backbones.hf_adapter import adapt_hf_model, is_hf_model
from dimlift.backbones.info import BackboneInfo
from dimlift.backbones.load_report import Shape
from dimlift.errors import LiftError, PlanError
from dimlift.lifting.certify.attention_coverage import unspanned_note
from dimlift.lifting.certify.certificate import some_names
from dimlift.lifting.certify.certify_lift import certify_lift, reference_outputs
from dimlift.lifting.certify.randomise_zeros import restore_tensors
from dimlift.lifting.certify.weight_report import WeightsReport, compare_shapes, shapes_of
from dimlift.lifting.context import LiftContext, prepare
from dimlift.lifting.converter import convert
from dimlift.lifting.depth_plan import DepthPlan, is_positive_int
from dimlift.lifting.input_size import fixed_image_size, set_image_size
from dimlift.lifting.lifted_module import LiftedModule
from dimlift.lifting.output_shapes import infer_outputs
from dimlift.lifting.plain_copy import copy_plain
from dimlift.lifting.slice_padding import covering_size, require_whole_patches
from dimlift.lifting.stem import InputNormalisation, average_over_inputs, image_channels


def lift(
    network: nn.Module | str | Path,
    plan: DepthPlan = DepthPlan(),  # noqa: B008 - immutable
    *,
    in_chans: int | None = None,
    average_input_channels: bool = False,
    pretrained: bool | None = None,
    download: bool = False,
    weights: str | Path | None = None,
    image_size: int | tuple[int, int] | None = None,
    features_only: bool = False,
    certify: bool = True,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    stem_stride: int | None = None,
    num_stages: int | None = None,
    upsample: int = 1,
    licence: str | None = None,
    **options: Any,
) -> LiftedModule:
    """Lift a 2D network to 3D.

    Args:
        network: a module, which is copied and not changed, or a name for `create_backbone` ("timm:resnet18",
            "transformers:FOLDER", "smp:Unet/resnet18", "packaged:efficientnet_lite0").
        plan: how it is given depth.
        in_chans: channels of the volumes; those of the 2D network if None.
        average_input_channels: average the first kernel over its input channels, also for volumes of as many channels.
        pretrained: for a name, load the source's own weights; False initialises randomly. None loads those of packaged
            networks and folders only.
        download: allow downloading weights that are not on this machine.
        weights: for a name, a local .safetensors, .pt or .pth file to load.
        image_size: (height, width) of the slices, for networks bound to one size. It is rounded up to whole patches:
            the lifted network pads slices to them.
        features_only: for a name or a transformers model, return a list of maps instead of logits.
        certify: check the laws on a small input. Without it large networks lift in seconds.
        mean: with `std`, the lifted network takes inputs on the scale of mean and std, and normalises them itself.
        std: see `mean`.
        stem_stride: stride of the first convolution, for finer maps than the 2D network's.
        num_stages: for a name with features_only, keep this many maps and drop the layers after them.
        upsample: factor by which height and width of the input are upsampled, for finer maps.
        licence: of the weights, if the source does not state it; it is stored in weights folders.
        options: for a name, passed to the source.

    Raises:
        PlanError: if the plan does not fit the network.
        LiftError: if a layer has no known 3D counterpart, or a law that the plan guarantees does not hold.
        UnknownNameError: if the source has no such network.
        WeightsError: if weights do not fit, or are not on this machine and `download` is False.
    """
    sizes = {"in_chans": in_chans, "num_stages": num_stages, "image_size": image_size, "upsample": upsample}
    for name, given in sizes.items():
        numbers = given if isinstance(given, tuple | list) else (given,)
        if given is not None and not all(is_positive_int(number) for number in numbers):
            raise PlanError(
                f"{name} takes whole numbers of at least 1, got {given!r}; leave it out to keep the network's"
            )
    if num_stages is not None:
        if not isinstance(network, str | Path) or not features_only:
            raise PlanError(
                "num_stages= needs a network opened by name with features_only=True; of your own module, drop the last "
                "maps yourself"
            )
        options["out_indices"] = tuple(range(num_stages))
    if isinstance(network, str | Path):
        options |= {"pretrained": pretrained, "download": download, "weights": weights, "licence": licence}
        net, info = _create(str(network), image_size, features_only=features_only, **options)
        shapes = shapes_of(net) | {key: shape for key, (shape, _) in info.load_report.resized.items()}
    else:
        if pretrained or weights is not None or options or (features_only and not is_hf_model(network)):
            raise PlanError(
                "pretrained, weights, features_only and further options open a network by its name; set them where "
                "this module is created"
            )
        net, info = _copy_module(network, features_only)
        info = info if licence is None else replace(info, licence=licence)
        shapes = shapes_of(net)
        if image_size is not None:
            set_image_size(net, image_size)
    require_whole_patches(net, image_channels(net))
    context = prepare(
        net,
        plan,
        in_channels=in_chans,
        stem_stride=stem_stride,
        upsample=upsample,
        trained_size=info.size,
    )
    if average_input_channels:
        average_over_inputs(context.stem)
    normalisation = InputNormalisation(mean, std, context.image_channels)
    lifted = _lift_in_place(net, info, context, shapes, normalisation, certify)
    lifted.set_upsample(upsample)
    return lifted


def _create(name: str, image_size: int | tuple[int, int] | None, **options: Any) -> tuple[nn.Module, BackboneInfo]:
    """Create a network by name, for the smallest whole number of patches that holds slices of `image_size`."""
    state = torch.get_rng_state()
    net, info = create_backbone(name, image_size=image_size, **options)
    bound = fixed_image_size(net)
    if image_size is None or bound is None:
        return net, info
    whole = covering_size(net, image_channels(net), bound)
    if whole == bound:
        return net, info
    torch.set_rng_state(state)
    return create_backbone(name, image_size=whole, **options)


def _copy_module(network: object, features_only: bool) -> tuple[nn.Module, BackboneInfo]:
    """Copy a live module; one of transformers is adapted to take images and return tensors."""
    if isinstance(network, LiftedModule):
        raise LiftError("this network is lifted already; pass the 2D network to lift, with the new plan")
    if not isinstance(network, nn.Module):
        raise LiftError(f"lift takes a 2D nn.Module or a name ('timm:resnet18'), got {type(network).__name__}")
    cfg = getattr(network, "pretrained_cfg", None)
    cfg = cfg if isinstance(cfg, dict) else {}
    size = cfg.get("input_size")
    info = BackboneInfo(
        None,
        licence=cfg.get("license"),
        size=tuple(size[-2:]) if size else None,
        weights=cfg.get("architecture") or "live module",
    )
    copied, folded = copy_plain(network)
    if folded:
        info = replace(
            info, weights=f"{info.weights}, with the norms of {some_names(folded)} folded into plain weights"
        )
    return adapt_hf_model(copied, features_only) if is_hf_model(network) else copied, info


def _lift_in_place(
    network: nn.Module,
    info: BackboneInfo,
    context: LiftContext,
    shapes: dict[str, Shape],
    normalisation: InputNormalisation,
    certify: bool,
) -> LiftedModule:
    """Convert a network and certify it. Its modes (train, eval) are restored.

    Args:
        network: changed in place.
        info: about the network.
        context: what `prepare` found out about it.
        shapes: of its tensors as they were trained, before position tables were resized.
        normalisation: of the input.
        certify: whether to check the laws.
    """
    started = time.perf_counter()
    training = {name: module.training for name, module in network.named_modules()}
    network.eval()
    check, originals = reference_outputs(network, context, normalisation) if certify else (None, {})
    lifted, layers = convert(network, info, context, normalisation)
    infer_outputs(lifted, context.trial_sizes if check is None else [check.size])
    lifted.weights_report = _report_weights(lifted, shapes)
    if check is not None:
        lifted.certificate = certify_lift(lifted, check, context, layers, tuple(originals), started)
    elif lifted.attention_within_slices:
        warnings.warn(unspanned_note(network, lifted.attention_within_slices), stacklevel=3)
    restore_tensors(network, originals)
    for name, module in network.named_modules():
        module.training = training.get(name, module.training)
    lifted.training = network.training
    return lifted


def _report_weights(lifted: LiftedModule, shapes: dict[str, Shape]) -> WeightsReport:
    report = compare_shapes(shapes, shapes_of(lifted.network))
    report.new |= {name: shape for name, shape in shapes_of(lifted).items() if not name.startswith("network.")}
    return report
