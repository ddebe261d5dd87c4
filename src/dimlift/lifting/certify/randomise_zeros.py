"""Give a fresh network a voice for the length of its trial.

Libraries start heads, scales of residual branches and position tables at zero, or so near it that nothing of the branch
arrives at the output. Such a network answers as it should whatever has happened inside. So parameters that mute it
get random numbers before the 2D network is asked, are lifted with them like any other weight, and are put back, bit for
bit, when the lifted network has answered. The same goes for batch statistics nobody has measured yet, under which a
signal may die out on its way.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dimlift.lifting.bn_recalibration import measuring

QUIET = 1e-3
"""A scale below this hides what it scales; layer scales start at 1e-6 to 1e-4."""


@torch.no_grad()
def wake(network: nn.Module) -> dict[str, Tensor]:
    """Give random numbers to every parameter that is zero throughout, or one tiny number throughout.

    Kernels of convolutions only where they are zero: their shape is about to change, and zeros are zeros in any shape.

    Returns:
        What these parameters were, by name, for `put_back`.
    """
    kernels = {id(module.weight) for module in network.modules() if isinstance(module, nn.Conv2d)}
    before: dict[str, Tensor] = {}
    woken: set[int] = set()
    generator = torch.Generator().manual_seed(0)
    for name, parameter in network.named_parameters(remove_duplicate=False):
        if id(parameter) in woken:
            before[name] = next(old for other, old in before.items() if network.get_parameter(other) is parameter)
        elif _is_mute(parameter, 0.0 if id(parameter) in kernels else QUIET):
            before[name] = parameter.detach().clone()
            woken.add(id(parameter))
            parameter.copy_(_spoken(name, parameter, generator))
    return before


@torch.no_grad()
def put_back(network: nn.Module, before: dict[str, Tensor]) -> None:
    """Undo `wake` and `settle`, on the same network lifted or not; kernels that changed their shape were zero."""
    tensors = {**dict(network.named_parameters(remove_duplicate=False)), **dict(network.named_buffers())}
    for name, old in before.items():
        if tensors[name].shape == old.shape:
            tensors[name].copy_(old)
        else:
            tensors[name].zero_()


@torch.no_grad()
def settle(network: nn.Module, show: Callable[[], object]) -> dict[str, Tensor]:
    """Let batch norms take their statistics from what `show` shows the network, which is in eval mode.

    Returns:
        What these statistics were, by name, for `put_back`.
    """
    with measuring(network, 1.0) as before:
        show()
    return before


def _is_mute(parameter: Tensor, limit: float) -> bool:
    if not parameter.is_floating_point() or parameter.numel() == 0:
        return False
    first = parameter.flatten()[0]
    return bool(first.abs() <= limit) and bool((parameter == first).all())


def _spoken(name: str, parameter: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers of a size that neither drowns the rest nor is drowned by it."""
    if parameter.squeeze().ndim > 1:
        return torch.randn(parameter.shape, generator=generator) / (parameter[0].numel() ** 0.5)
    numbers = torch.rand(parameter.shape, generator=generator)
    return 0.1 * (numbers - 0.5) if name.endswith("bias") else 0.1 + 0.2 * numbers
