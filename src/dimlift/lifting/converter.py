"""Turn a 2D network that is ours to change into a lifted one, in place."""

import time
import warnings
from typing import cast

import torch
from torch import nn

from dimlift.backbones.load_report import Shape
from dimlift.backbones.open_network import SourceInfo
from dimlift.errors import CannotLift, PlanError
from dimlift.lifting.certify.attention_coverage import hearing_attention
from dimlift.lifting.certify.certificate import Certificate, Claim, Layer, some_names
from dimlift.lifting.certify.equivalence import Trial, measure, moved_by_rounding, tolerance_of, try_flat
from dimlift.lifting.certify.guarantees import unclaimed
from dimlift.lifting.certify.locate_mixing import mixing_layer
from dimlift.lifting.certify.randomise_zeros import put_back, settle, wake
from dimlift.lifting.certify.weight_report import WeightsReport, compare_shapes, shapes_of
from dimlift.lifting.depth_plan import DepthPlan
from dimlift.lifting.input_size import REFUSALS, bound_size, describe_maps, sizes_to_try
from dimlift.lifting.layer_handlers import lend_hands
from dimlift.lifting.layer_selection import Place, is_attention, is_innermost_attention, place_convolutions
from dimlift.lifting.layers.attention.call_interceptor import prefer_fused_attention, spanning_for
from dimlift.lifting.layers.attention.planecycle import column_of_blocks, turn_blocks
from dimlift.lifting.layers.attention.registry import let_span
from dimlift.lifting.layers.conv import TalkingConvolution, kind_of, lift_convolution
from dimlift.lifting.layers.depth_embedding import add_depth_position
from dimlift.lifting.layers.depth_pool import Reduction
from dimlift.lifting.layers.depth_rope import add_depth_angles, rotary_embedding
from dimlift.lifting.lifted_module import Lifted
from dimlift.lifting.stages import check_reduction, stages_of
from dimlift.lifting.stem import Normalisation, image_channels, image_readers, refine_stem

Readers = dict[str, nn.Conv2d]


def plan_fits(network: nn.Module, plan: DepthPlan) -> list[Place]:
    """The convolutions that will talk.

    Raises:
        PlanError: if the plan does not fit this network. Nothing was touched.
        CannotLift: if one of them is of a kind that is not known.
    """
    stages = stages_of(network)
    check_reduction(stages, plan.reduce)
    places = place_convolutions(network, plan, stages)
    tubelets = {place.name: place.k for place in places if place.tubelets}
    readers = image_readers(network)
    if any(name in tubelets for name in readers) and len({tubelets.get(name) for name in readers}) > 1:
        raise PlanError(
            f"the image is read by {', '.join(readers)}, and not all in tubelets of one depth; use stride='none'"
        )
    if plan.attention != "slice" and not any(is_attention(module) for module in network.modules()):
        raise PlanError(f"attention={plan.attention!r}, but this network has no attention; use attention='slice'")
    if plan.attention != "slice" and not readers:
        raise PlanError(
            f"attention={plan.attention!r} tells slices apart where a convolution reads the image, and here none does; "
            "use attention='slice'"
        )
    if plan.attention == "planecycle":
        column_of_blocks(network, is_attention)
    for place in places:
        kind_of(cast(nn.Conv2d, network.get_submodule(place.name)), place.name)
    return places


def build(
    flat: nn.Module,
    info: SourceInfo,
    plan: DepthPlan,
    before: dict[str, Shape],
    *,
    in_channels: int | None,
    certify: bool,
    normalisation: Normalisation,
    stem_stride: int | None,
) -> Lifted:
    """Lift `flat` itself. Its modes (train, eval) are as they were when it returns.

    Args:
        before: shapes of its tensors where their numbers were trained, before positions were resized.

    Raises:
        CannotLift: if a layer is not known, or a law the plan promises does not hold.
    """
    started = time.perf_counter()
    training = {name: module.training for name, module in flat.named_modules()}
    flat.eval()
    readers = image_readers(flat)
    channels = image_channels(flat)
    if not readers and in_channels not in (None, channels):
        raise CannotLift(
            f"the image is not read by a convolution, so it cannot be adapted to {in_channels} channels; lift with "
            f"in_channels={channels} and give a grey volume {channels} times"
        )
    if stem_stride is not None:
        refine_stem(readers, stem_stride)
    bound = bound_size(flat)
    lifted = Lifted(flat, plan, info, channels if in_channels is None else in_channels)
    lifted.image_size = bound
    sizes = sizes_to_try(flat, info.size)
    trial, muted = _ask(lifted, sizes, normalisation) if certify else (None, {})

    places = plan_fits(flat, plan)
    _normalise(lifted, normalisation, readers)
    layers = [Layer(name, "by a registered hand") for name in lend_hands(flat)]
    layers += _let_convolutions_talk(lifted, places, readers)
    layers += _reduce(lifted)
    layers += _let_calls_span(lifted, places, readers)
    lifted.attention_within_slices = _describe(lifted, sizes if trial is None else [trial.size])
    lifted.weights_report = _report(lifted, before)
    if trial is not None:
        lifted.certificate = _certify(lifted, trial, places, layers, started, tuple(muted))
    elif lifted.attention_within_slices:
        warnings.warn(_kept(lifted), stacklevel=3)
    put_back(flat, muted)
    for name, module in flat.named_modules():
        module.training = training.get(name, module.training)
    lifted.training = flat.training
    return lifted


def _describe(lifted: Lifted, sizes: list[tuple[int, int]]) -> tuple[str, ...]:
    """Fill in what its maps are; on the way, learn which attention stays within its slice although the plan asks.

    Raises:
        PlanError: if all of it does.
    """
    wanted = lifted.plan.attention
    if wanted == "planecycle":
        try:
            describe_maps(lifted, sizes)
        except CannotLift as fault:
            raise PlanError(
                "attention='planecycle' needs blocks that keep the tokens of a slice on its patch grid, which those of "
                f"this network do not ({fault}); use attention='joint' or a window of slices"
            ) from fault
        return ()
    if wanted == "slice" or lifted.listener is None:
        describe_maps(lifted, sizes)
        return ()
    with hearing_attention(lifted.network, lifted.listener) as heard:
        describe_maps(lifted, sizes)
    if not heard.spanned:
        raise PlanError(
            f"attention={wanted!r}, but no attention of this network goes through "
            f"scaled_dot_product_attention between the tokens of a slice ({some_names(heard.kept) or 'none is called'} "
            f"computes it otherwise); use attention='slice'{_way_out(lifted, tuple(heard.kept))}"
        )
    return tuple(heard.kept)


def _ask(
    lifted: Lifted, sizes: list[tuple[int, int]], normalisation: Normalisation
) -> tuple[Trial, dict[str, torch.Tensor]]:
    """The 2D network's answers, and what its mute parameters were before they were given a voice for the trial."""
    flat = lifted.network
    muted = wake(flat)
    trial = try_flat(flat, lifted.in_channels, sizes, normalisation)
    if not all(bool(answer.isfinite().all()) for answer in trial.answers):
        put_back(flat, muted)
        return try_flat(flat, lifted.in_channels, sizes, normalisation), {}
    if not all(trial.blind):
        return trial, muted

    def ask(slices: torch.Tensor) -> object:
        return flat(normalisation(slices))

    try:
        statistics = settle(flat, lambda: ask(trial.slices))
    except REFUSALS:  # too few pixels for a statistic: it stays as it is, and the certificate says so
        return trial, muted
    settled = try_flat(flat, lifted.in_channels, [trial.size], normalisation)
    if not settled.shaken(ask) < tolerance_of(trial.slices) / 10:  # what it would see is rounding, blown up
        put_back(flat, statistics)
        return trial, muted
    return settled, muted | statistics


def _let_convolutions_talk(lifted: Lifted, places: list[Place], readers: Readers) -> list[Layer]:
    if any(reader.in_channels != lifted.in_channels for reader in readers.values()):
        talking = {place.name for place in places}
        for name, reader in readers.items():
            if name not in talking:
                lift_convolution(reader, name, 1, channels=lifted.in_channels)
    for place in places:
        conv = cast(nn.Conv2d, lifted.network.get_submodule(place.name))
        lift_convolution(
            conv,
            place.name,
            place.k,
            profile=place.profile,
            axes=place.axes,
            tubelets=place.tubelets,
            factorised=place.factorised and not place.tubelets,
            channels=lifted.in_channels if place.name in readers else None,
        )
        if place.tubelets and place.name in readers:
            lifted.tubelet = place.k
            cast(TalkingConvolution, conv).stacked = True
    return [Layer(place.name, place.how) for place in places]


def _reduce(lifted: Lifted) -> list[Layer]:
    layers = []
    for index, (stage, factor) in enumerate(zip(stages_of(lifted.network), lifted.plan.reduce, strict=False)):
        if factor > 1:
            module = lifted.network.get_submodule(stage.module)
            module.register_forward_hook(Reduction(factor), prepend=True)
            layers.append(Layer(f"stage {index} ({stage.module})", f"depth averaged by {factor}"))
    return layers


def _let_calls_span(lifted: Lifted, places: list[Place], readers: Readers) -> list[Layer]:
    plan = lifted.plan
    changes_depth = any(factor > 1 for factor in plan.reduce) or any(
        place.tubelets and place.name not in readers for place in places
    )
    lifted.listener = spanning_for(plan, changes_depth)
    if plan.attention == "slice":
        return []
    network, reader = lifted.network, next(iter(readers.values()))
    prefer_fused_attention(network)
    if plan.attention == "planecycle":
        turned = turn_blocks(network, column_of_blocks(network, is_attention), reader)
        return [Layer(name, how) for name, how in turned.items()]
    let_span(network, plan.attention)
    if rotary_embedding(network) is None:
        add_depth_position(reader)
    else:
        for module in [m for m in network.modules() if is_innermost_attention(m)]:
            add_depth_angles(module)
    return []


def _report(lifted: Lifted, before: dict[str, Shape]) -> WeightsReport:
    report = compare_shapes(before, shapes_of(lifted.network))
    report.new |= {name: shape for name, shape in shapes_of(lifted).items() if not name.startswith("network.")}
    return report


def _certify(
    lifted: Lifted,
    trial: Trial,
    places: list[Place],
    layers: list[Layer],
    started: float,
    woken: tuple[str, ...],
) -> Certificate:
    plan = lifted.plan
    spanning: dict[str, None] = {}
    if lifted.listener is not None:
        lifted.listener.seen = lambda kind: spanning.setdefault(kind)
    claims = measure(lifted, trial, plan, unclaimed(plan, places))
    if lifted.listener is not None:
        lifted.listener.seen = None
    certificate = Certificate(
        lifted.source,
        (*layers, *(Layer("inside the forward", kind) for kind in spanning)),
        lifted.weights_report,
        claims,
        tuple(trial.volume(False).shape),
        time.perf_counter() - started,
        _notes(lifted, trial, woken),
        str(lifted.info),
    )
    for claim in claims:
        if not claim.holds:
            found = "could not be tried" if claim.error is None else f"is {claim.error:.1e}"
            raise CannotLift(
                f"{lifted.source or type(lifted.network).__name__}: the law of {claim.law} should hold under this "
                f"plan, but its error {found} (allowed {claim.tolerance:.0e}); {_blame(lifted, trial, claims)}. "
                "certify=False lifts it all the same"
            )
    return certificate


def _blame(lifted: Lifted, trial: Trial, claims: tuple[Claim, ...]) -> str:
    moved = moved_by_rounding(lifted, trial.volume(False))
    if moved > tolerance_of(trial.slices):
        return (
            f"its answers move by {moved:.1e} when the volume moves by a rounding error, so nothing can be measured "
            "here: some deep networks with random weights are like that; give it trained ones"
        )
    apart = next(claim.claimed for claim in claims if claim.law == "slices")
    found = (mixing_layer(lifted, trial, True) if apart else None) or mixing_layer(lifted, trial, False)
    if found is None:
        return (
            "slices do not mix anywhere, so a convolution answers otherwise than in 2D: look at what its class was "
            "registered as with dimlift.lifting.layers.conv.register_convolution"
        )
    name, kind = found
    return (
        f"slices mix in {name} ({kind}) in a way that is not known; teach it once with "
        f"dimlift.lifting.layer_handlers.register_layer('{kind}', hand), whose hand changes such a layer in place"
    )


def _notes(lifted: Lifted, trial: Trial, woken: tuple[str, ...]) -> tuple[str, ...]:
    notes = []
    images = trial.slices.shape[1]
    if images != lifted.in_channels:
        notes.append(
            f"reads {lifted.in_channels} channel(s) where the 2D network read {images}: grey answers as before"
        )
    if lifted.attention_within_slices:
        notes.append(_kept(lifted))
    if woken:
        named = sorted(woken, key=lambda name: name.endswith("bias"))  # biases are many and hide nothing
        notes.append(
            f"{len(woken)} tensors that mute a fresh network had other numbers while it was checked "
            f"({some_names(named)})"
        )
    constant = [str(index) for index, blind in enumerate(trial.blind) if blind]
    if constant and not all(trial.blind):
        notes.append(f"answer {', '.join(constant)} does not depend on the image: nothing was shown of it")
    return tuple(notes)


def _kept(lifted: Lifted) -> str:
    """Every layer by name: nobody should believe that these talk."""
    names = lifted.attention_within_slices
    return (
        f"attention stays within each slice in {len(names)} layer(s) that compute it on their own, not through "
        f"scaled_dot_product_attention: {', '.join(names)}{_way_out(lifted, names)}"
    )


def _way_out(lifted: Lifted, names: tuple[str, ...]) -> str:
    """How to register the first of these layers."""
    if not names:
        return ""
    cls = type(lifted.network.get_submodule(names[0]))
    name = f"{cls.__module__.split('.')[-1]}.{cls.__qualname__}"
    return (
        f"; if {cls.__name__} is attention written out, or over tokens in any order, say so once with "
        f"dimlift.lifting.layers.attention.registry.register_attention({name!r}, Family('written' or 'set'))"
    )


def _normalise(lifted: Lifted, normalisation: Normalisation, readers: Readers) -> None:
    """Put mean and std where they belong."""
    weight = next(lifted.network.parameters())
    same = normalisation.channels == lifted.in_channels

    def buffer(values: torch.Tensor) -> torch.Tensor:
        values = values if same else values.mean().expand(lifted.in_channels)
        return values.to(weight).view(1, -1, 1, 1, 1).clone()

    if normalisation.mean is not None:
        lifted.input_mean = buffer(normalisation.mean)
    if normalisation.std is None:
        return
    if not normalisation.scale_kernels(readers):
        lifted.input_scale = buffer(1 / normalisation.std)
    elif same:
        lifted.folded_std = dict.fromkeys(readers, normalisation.std)
