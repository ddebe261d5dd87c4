"""Certification of a lift: reference outputs of the 2D network, then the laws on the lifted one."""

import time
from collections.abc import Sequence

from torch import Tensor, nn

from dimlift.errors import LiftError
from dimlift.lifting.certify.attention_coverage import unspanned_note
from dimlift.lifting.certify.certificate import Certificate, Claim, MixingLayer, some_names
from dimlift.lifting.certify.coverage import check_coverage
from dimlift.lifting.certify.equivalence import (
    EquivalenceCheck,
    check_equivalence,
    rounding_sensitivity,
    run_2d,
    tolerance_of,
)
from dimlift.lifting.certify.guarantees import unguaranteed_laws
from dimlift.lifting.certify.locate_mixing import find_mixing_layer
from dimlift.lifting.certify.randomise_zeros import calibrate_bn, randomise_zero_init, restore_tensors
from dimlift.lifting.context import LiftContext
from dimlift.lifting.input_size import SIZE_ERRORS
from dimlift.lifting.layers.call_interceptor import observe_spanning
from dimlift.lifting.lifted_module import LiftedModule
from dimlift.lifting.registry import registration_hint
from dimlift.lifting.stem import InputNormalisation


def reference_outputs(
    network: nn.Module, context: LiftContext, normalisation: InputNormalisation
) -> tuple[EquivalenceCheck, dict[str, Tensor]]:
    """Run the 2D network on a small input, with zero-initialised parameters randomised.

    Args:
        network: the 2D network in eval mode. Its zero-initialised parameters, and its batch-norm statistics where the
            outputs would otherwise be constant, are changed.
        context: what `prepare` found out about it.
        normalisation: of the input.

    Returns:
        The outputs, and the original values of the tensors that were changed, for `restore_tensors`.

    Raises:
        LiftError: if the network runs at none of the sizes.
    """

    def run(sizes: Sequence[tuple[int, int]]) -> EquivalenceCheck:
        return run_2d(network, context.image_channels, context.in_channels, sizes, normalisation)

    originals = randomise_zero_init(network)
    check = run(context.trial_sizes)
    if not all(bool(output.isfinite().all()) for output in check.outputs):
        restore_tensors(network, originals)
        return run(context.trial_sizes), {}
    if not all(check.is_constant):
        return check, originals

    def forward(slices: Tensor) -> object:
        return network(normalisation(slices))

    try:
        statistics = calibrate_bn(network, lambda: forward(check.slices))
    except SIZE_ERRORS:  # too few pixels for batch statistics: they stay, and the certificate reports constant outputs
        return check, originals
    calibrated = run([check.size])
    if not calibrated.rounding_sensitivity(forward) < tolerance_of(check.slices) / 10:  # only rounding, amplified
        restore_tensors(network, statistics)
        return check, originals
    return calibrated, originals | statistics


def certify_lift(
    lifted: LiftedModule,
    check: EquivalenceCheck,
    context: LiftContext,
    layers: Sequence[MixingLayer],
    randomised: Sequence[str],
    started: float,
) -> Certificate:
    """Check the laws on a lifted network.

    Args:
        lifted: in eval mode, with the weights that `check` was computed with.
        check: outputs of the 2D network.
        context: of the lift.
        layers: the converted layers that mix along depth.
        randomised: names of the tensors that were changed for the check.
        started: `time.perf_counter()` at the start of the lift.

    Raises:
        LiftError: if a law that the plan guarantees does not hold.
    """
    spanning: dict[str, None] = {}
    with observe_spanning(lambda description: spanning.setdefault(description)):
        claims = check_equivalence(lifted, check, context.plan, unguaranteed_laws(context.plan, context.convs))
    claims += check_coverage(lifted, check.size)
    certificate = Certificate(
        lifted.source,
        (*layers, *(MixingLayer("inside the forward", description) for description in spanning)),
        lifted.weights_report,
        claims,
        tuple(check.volume(False).shape),
        time.perf_counter() - started,
        _notes(lifted, check, context, randomised),
        str(lifted.info),
    )
    for claim in claims:
        if not claim.holds:
            if claim.law in ("coverage", "location"):
                raise LiftError(
                    f"{lifted.source or type(lifted.network).__name__}: the law of {claim.law} does not hold: "
                    f"{claim.measured}. Its layers read the image in a way that is not known: report the network, or "
                    "use slices that are multiples of its coarsest stride. certify=False skips this check"
                )
            error = "could not be measured" if claim.error is None else f"is {claim.error:.1e}"
            raise LiftError(
                f"{lifted.source or type(lifted.network).__name__}: the law of {claim.law} should hold under this "
                f"plan, but its error {error} (allowed {claim.tolerance:.0e}); "
                f"{_explain_failure(lifted, check, claims)}. certify=False skips this check"
            )
    return certificate


def _explain_failure(lifted: LiftedModule, check: EquivalenceCheck, claims: Sequence[Claim]) -> str:
    sensitivity = rounding_sensitivity(lifted, check.volume(False))
    if sensitivity > tolerance_of(check.slices):
        return (
            f"its outputs change by {sensitivity:.1e} when the volume changes by a rounding error, so the laws cannot "
            "be measured: some deep networks with random weights are like that; lift it with trained weights"
        )
    per_slice = next(claim.claimed for claim in claims if claim.law == "slices")
    found = (find_mixing_layer(lifted, check, True) if per_slice else None) or find_mixing_layer(lifted, check, False)
    if found is None:
        return (
            "no layer mixes slices, so a convolution differs from its 2D original: check how its class was registered "
            "with dimlift.lifting.registry.register_conv"
        )
    name, class_name = found
    return (
        f"slices mix in {name} ({class_name}) in an unknown way; {registration_hint('layer', class_name)}, where "
        "handler converts such a layer in place"
    )


def _notes(
    lifted: LiftedModule, check: EquivalenceCheck, context: LiftContext, randomised: Sequence[str]
) -> tuple[str, ...]:
    notes = []
    if context.image_channels != context.in_channels:
        notes.append(
            f"reads {context.in_channels} channel(s) where the 2D network reads {context.image_channels}; the output "
            "for a grey image is unchanged"
        )
    if lifted.attention_within_slices:
        notes.append(unspanned_note(lifted.network, lifted.attention_within_slices))
    if randomised:
        names = sorted(randomised, key=lambda name: name.endswith("bias"))  # biases are many and of least interest
        notes.append(
            f"{len(randomised)} zero-initialised tensors had random values during the check ({some_names(names)})"
        )
    constant = [str(index) for index, is_constant in enumerate(check.is_constant) if is_constant]
    if constant and not all(check.is_constant):
        notes.append(f"output {', '.join(constant)} does not depend on the image, so it was not checked")
    return tuple(notes)
