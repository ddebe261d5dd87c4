"""Copy a live network with the weights it computes with: weight and spectral normalisation are folded into them.

A parametrized weight has no kernel of its own to inflate. The copy holds the kernel that the parametrization yields
now, and trains it as a plain one.
"""

import copy
from collections.abc import Callable
from typing import Any, cast

from torch import Tensor, nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

REMOVERS: dict[type, Callable[[nn.Module, str], object]] = {
    WeightNorm: remove_weight_norm,
    SpectralNorm: remove_spectral_norm,
}
"""torch's older functions, which compute a weight in a hook before each forward, and what undoes them."""


def copy_plain(network: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """Copy a network without the parametrizations of its weights.

    Returns:
        The copy, and the names of the weights that were folded.
    """
    computed = [
        value
        for module in network.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    ]
    copied = copy.deepcopy(network, {id(tensor): tensor.detach().clone() for tensor in computed})
    folded = []
    for prefix, module in copied.named_modules():
        names = _fold_parametrizations(module) if parametrize.is_parametrized(module) else []
        for hook in [hook for hook in module._forward_pre_hooks.values() if type(hook) in REMOVERS]:
            REMOVERS[type(hook)](module, cast(Any, hook).name)
            names.append(cast(Any, hook).name)
        folded += [f"{prefix}.{name}".lstrip(".") for name in names]
    return copied, tuple(folded)


def _fold_parametrizations(module: nn.Module) -> list[str]:
    """Replace the parametrized tensors of a module by their values; return their names.

    torch's own removal deletes a property of the class, which a copy shares with its original.
    """
    lists: Any = module.parametrizations
    lists.eval()  # in training mode spectral norm would iterate its vectors first
    values = {name: getattr(module, name).detach().clone() for name in lists}
    trained = {name: any(parameter.requires_grad for parameter in lists[name].parameters()) for name in lists}
    del module._modules["parametrizations"]
    module.__class__ = type(module).__bases__[0]
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(value, requires_grad=trained[name]))
    return list(values)
