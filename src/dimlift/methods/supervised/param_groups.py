"""Which parameter learns how fast: the encoder slower than what is new, its early layers slower than its late ones.

- Layer-wise decay of the rate: Howard and Ruder, 2018, https://arxiv.org/abs/1801.06146; in its present form for
  vision transformers: Bao et al., BEiT, 2021, https://arxiv.org/abs/2106.08254
"""

import re
from typing import Any

from torch import nn


def parameter_groups(
    model: nn.Module, rate: float, *, encoder_scale: float = 1.0, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """Optimiser groups of `model`; every parameter is in exactly one.

    Args:
        model: its `encoder` attribute, if it has one, is treated apart.
        rate: learning rate of everything outside the encoder.
        encoder_scale: rate of the encoder's last layers, as a share of `rate`.
        layer_decay: factor from each layer of the encoder to the one before it; 1 gives all the same rate.

    Returns:
        one group for the rest ("model", or "head" beside an encoder) and one ("encoder") or several ("encoder.NAME")
        for the encoder.
    """
    encoder = getattr(model, "encoder", None)
    if not isinstance(encoder, nn.Module):
        return [{"params": list(model.parameters()), "lr": rate, "name": "model"}]
    inside = {id(parameter) for parameter in encoder.parameters()}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in inside]
    groups = [{"params": rest, "lr": rate, "name": "head"}] if rest else []
    if layer_decay == 1.0:
        return [*groups, {"params": list(encoder.parameters()), "lr": rate * encoder_scale, "name": "encoder"}]
    layers = encoder_layers(encoder)
    for index, (name, parameters) in enumerate(layers.items()):
        decayed = rate * encoder_scale * layer_decay ** (len(layers) - 1 - index)
        groups.append({"params": parameters, "lr": decayed, "name": f"encoder.{name}"})
    return groups


def encoder_layers(encoder: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The encoder's parameters by layer, from input to output.

    A layer is what shares a name up to the first numbered part ("layer3", "blocks.11", "stages_2"); what lies between
    two numbered parts (a stem, a norm) goes with the layer before it, or with the stem at the beginning.
    """
    layers: dict[str, list[nn.Parameter]] = {}
    current = "stem"
    for name, parameter in encoder.named_parameters():
        numbered = re.match(r"(?:.*?\.)?(?:[A-Za-z_]*(?:layer|block|stage)[A-Za-z_]*\.?\d+)(?=\.|$)", name)
        if numbered:
            current = numbered.group(0)
        layers.setdefault(current, []).append(parameter)
    return layers
