"""Keep the first layers of an encoder as they are, for good: what they see is the same in photographs and volumes."""

from torch import nn

from dimlift.errors import ConfigError
from dimlift.methods.supervised.param_groups import encoder_layers


def freeze_first(encoder: nn.Module, count: int) -> list[nn.Module]:
    """Take the gradient from the first `count` layers (1 is the stem, 2 the stem and the first block, ...).

    Returns:
        the modules that hold these weights; whoever trains the encoder keeps them in eval mode, or their batch norms
        go on moving.

    Raises:
        ConfigError: if the encoder has fewer layers.
    """
    layers = encoder_layers(encoder)
    if not 0 <= count <= len(layers):
        raise ConfigError(f"freeze_layers is {count}, but the encoder has {len(layers)} layers; freeze at most so many")
    still = {id(parameter) for name in list(layers)[:count] for parameter in layers[name]}
    for parameter in encoder.parameters():
        if id(parameter) in still:
            parameter.requires_grad_(False)
    return [module for module in encoder.modules() if any(id(own) in still for own in module.parameters(recurse=False))]
