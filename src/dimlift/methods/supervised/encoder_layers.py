"""Layers of an encoder: layer-wise learning rates and freezing of the first layers.

- Layer-wise learning rate decay: Howard and Ruder, 2018, https://arxiv.org/abs/1801.06146; as used for vision
  transformers: Bao et al., BEiT, 2021, https://arxiv.org/abs/2106.08254
"""

import re
from typing import Any

from torch import nn

from dimlift.errors import ConfigError


def param_groups_layer_decay(
    model: nn.Module, lr: float, *, encoder_lr_scale: float = 1.0, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """Return optimizer groups of `model`; every parameter is in exactly one.

    Args:
        model: a network; its submodule `encoder`, if it has one, gets groups of its own.
        lr: learning rate of everything outside the encoder.
        encoder_lr_scale: learning rate of the last layers of the encoder, as a fraction of `lr`.
        layer_decay: factor of the learning rate from each encoder layer to the one before it.

    Returns:
        One group outside the encoder ("model", or "head" beside an encoder), and for the encoder one group
        ("encoder") or one per layer ("encoder.NAME").
    """
    encoder = getattr(model, "encoder", None)
    if not isinstance(encoder, nn.Module):
        return [{"params": list(model.parameters()), "lr": lr, "name": "model"}]
    encoder_ids = {id(parameter) for parameter in encoder.parameters()}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in encoder_ids]
    groups = [{"params": rest, "lr": lr, "name": "head"}] if rest else []
    if layer_decay == 1.0:
        return [*groups, {"params": list(encoder.parameters()), "lr": lr * encoder_lr_scale, "name": "encoder"}]
    layers = encoder_layers(encoder)
    for index, (name, parameters) in enumerate(layers.items()):
        scaled = lr * encoder_lr_scale * layer_decay ** (len(layers) - 1 - index)
        groups.append({"params": parameters, "lr": scaled, "name": f"encoder.{name}"})
    return groups


def encoder_layers(encoder: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Return the parameters of an encoder by layer, from input to output.

    A layer is the part of a parameter name up to the first numbered block ("layer3", "blocks.11", "stages_2").
    Parameters between two numbered blocks belong to the layer before them; those before the first block are the stem.
    """
    layers: dict[str, list[nn.Parameter]] = {}
    current = "stem"
    for name, parameter in encoder.named_parameters():
        numbered = re.match(r"(?:.*?\.)?(?:[A-Za-z_]*(?:layer|block|stage)[A-Za-z_]*\.?\d+)(?=\.|$)", name)
        if numbered:
            current = numbered.group(0)
        layers.setdefault(current, []).append(parameter)
    return layers


def freeze_layers(encoder: nn.Module, count: int) -> list[nn.Module]:
    """Freeze the first `count` layers of an encoder; 1 is the stem, 2 the stem and the first block.

    Returns:
        The modules that own the frozen parameters. The caller keeps them in eval mode, so that their batch-norm
        statistics do not change.

    Raises:
        ConfigError: if the encoder has fewer layers.
    """
    layers = encoder_layers(encoder)
    if not 0 <= count <= len(layers):
        raise ConfigError(f"num_frozen_layers is {count}, but the encoder has {len(layers)} layers; lower it")
    frozen = {id(parameter) for name in list(layers)[:count] for parameter in layers[name]}
    for parameter in encoder.parameters():
        if id(parameter) in frozen:
            parameter.requires_grad_(False)
    return [m for m in encoder.modules() if any(id(own) in frozen for own in m.parameters(recurse=False))]
