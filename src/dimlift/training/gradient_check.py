"""Compare the bfloat16 weight gradient of every layer of a network with float32 once, before the first step."""

import copy
import math
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dimlift.errors import RunError, ShapeError
from dimlift.training.fabric import autocast_for
from dimlift.training.float32_convolution import guard_convolutions

MIN_COSINE = 0.9
"""Cosine below which a gradient is wrong: rounding leaves .99 and more, known faults of kernels .6 or less."""
MAX_NAMES = 3


class LayerCall(NamedTuple):
    """One call of a layer in a training step.

    Attributes:
        layer: the layer.
        input: its input.
        output_gradient: gradient of the loss with respect to its output.
    """

    layer: nn.Module
    input: Tensor
    output_gradient: Tensor


def check_bf16_gradients(method: nn.Module, batch: Any, seed: int) -> None:
    """Require that the weight gradient of every layer has the same direction in bfloat16 and in float32.

    Each layer is computed alone, from the input and the output gradient that it has in a training step: a difference
    is an error of its kernel, not rounding that accumulated elsewhere. The method and the random state are unchanged.

    Args:
        method: has `loss(batch)`.
        batch: a batch on the device of the method.
        seed: of dropout.

    Raises:
        RunError: if a gradient is wrong; the message names the layers.
    """
    cosines = {name: gradient_cosine(call) for name, call in record_layer_calls(method, batch, seed).items()}
    wrong = {name: cosine for name, cosine in cosines.items() if not cosine >= MIN_COSINE}
    if wrong:
        named = ", ".join(f"{name} (cosine {cosine:.2f})" for name, cosine in list(wrong.items())[:MAX_NAMES])
        more = f" and {len(wrong) - MAX_NAMES} more" if len(wrong) > MAX_NAMES else ""
        raise RunError(
            f"the bfloat16 weight gradient is wrong in {named}{more}, compared with float32; this processor or version "
            "of torch computes it incorrectly; set training.precision=32"
        )


def record_layer_calls(method: nn.Module, batch: Any, seed: int) -> dict[str, LayerCall]:
    """Return the first call of every layer with a kernel or a matrix, by name, in a bfloat16 step on a copy."""
    network: Any = copy.deepcopy(method)
    calls: dict[str, LayerCall] = {}

    def watch(name: str, layer: nn.Module) -> None:
        def after_forward(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            def after_backward(gradient: Tensor) -> None:
                calls.setdefault(name, LayerCall(layer, x, gradient.detach()))

            if name not in calls and isinstance(output, Tensor) and output.requires_grad and len(inputs) == 1:
                x = inputs[0].detach()
                output.register_hook(after_backward)

        layer.register_forward_hook(after_forward)

    for name, layer in network.named_modules():
        weight = getattr(layer, "weight", None)
        if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd) and weight is not None and weight.requires_grad:
            watch(name, layer)
    device = next(network.parameters()).device
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), guard_convolutions("bf16", device):
        torch.manual_seed(seed)
        try:
            with autocast_for("bf16", device):
                loss = network.loss(batch)
            loss.backward()
        except (ValueError, RuntimeError):
            return {}  # the first step meets the same error and explains it
    return calls


def gradient_cosine(call: LayerCall) -> float:
    """Return the cosine between the weight gradients of a layer in bfloat16 and float32; 1 if float32 has none."""
    try:
        exact, rounded = (_weight_gradient(call, precision) for precision in ("32", "bf16"))
    except ShapeError:
        return 1.0  # a layer that mixes along depth runs inside its lifted network only
    if not bool(exact.isfinite().all()) or not bool(exact.any()):
        return 1.0  # nothing to compare with: the step itself reports a gradient that is not finite
    if not bool(rounded.isfinite().all()):
        return math.nan
    return float(F.cosine_similarity(exact.flatten().double(), rounded.flatten().double(), 0))


def _weight_gradient(call: LayerCall, precision: str) -> Tensor:
    device, weight = call.input.device, cast(Tensor, call.layer.weight)
    with torch.enable_grad(), guard_convolutions(precision, device):
        with autocast_for(precision, device):
            # without hooks: those of a caller count the calls of training
            output = call.layer.forward(call.input if precision == "bf16" else call.input.float())
        (gradient,) = torch.autograd.grad(output, weight, call.output_gradient.to(output.dtype))
    return gradient.float()
