"""Randomise zero-initialised parameters for the equivalence check; `restore_tensors` undoes it.

Libraries initialise heads, residual branches (timm's `zero_init_last`, LayerScale) and position tables to zero, or so
close to it that a branch does not contribute to the output. The output of such a network is then correct whatever the
branch computes. These parameters are therefore randomised before the 2D network runs, are lifted like other weights,
and are restored exactly after the check. Batch-norm statistics that were never updated are treated alike, since signals
may vanish under them.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dimlift.lifting.bn_recalibration import update_bn_statistics

ZERO_INIT_MAX = 1e-3
"""Parameters that are constant and no larger than this count as zero-initialised; LayerScale starts at 1e-6 to 1e-4."""


@torch.no_grad()
def randomise_zero_init(network: nn.Module) -> dict[str, Tensor]:
    """Randomise every parameter that is constant and (nearly) zero.

    Kernels of convolutions are randomised only if they are exactly zero: their shape is about to change, and zeros can
    be restored in any shape.

    Returns:
        The original values of these parameters by name, for `restore_tensors`.
    """
    kernels = {id(module.weight) for module in network.modules() if isinstance(module, nn.Conv2d)}
    before: dict[str, Tensor] = {}
    randomised: set[int] = set()
    generator = torch.Generator().manual_seed(0)
    for name, parameter in network.named_parameters(remove_duplicate=False):
        if id(parameter) in randomised:
            before[name] = next(old for other, old in before.items() if network.get_parameter(other) is parameter)
        elif _is_zero_init(parameter, 0.0 if id(parameter) in kernels else ZERO_INIT_MAX):
            before[name] = parameter.detach().clone()
            randomised.add(id(parameter))
            parameter.copy_(_random_like(name, parameter, generator))
    return before


@torch.no_grad()
def restore_tensors(network: nn.Module, before: dict[str, Tensor]) -> None:
    """Undo `randomise_zero_init` and `calibrate_bn`, whether the network was lifted in between or not.

    Args:
        network: the network; kernels whose shape has changed are set to zero.
        before: original values by name.
    """
    tensors = {**dict(network.named_parameters(remove_duplicate=False)), **dict(network.named_buffers())}
    for name, old in before.items():
        if tensors[name].shape == old.shape:
            tensors[name].copy_(old)
        else:
            tensors[name].zero_()


@torch.no_grad()
def calibrate_bn(network: nn.Module, forward: Callable[[], object]) -> dict[str, Tensor]:
    """Set batch-norm statistics to those of one forward.

    Args:
        network: a network in eval mode.
        forward: runs it.

    Returns:
        The original statistics by name, for `restore_tensors`.
    """
    with update_bn_statistics(network, 1.0) as before:
        forward()
    return before


def _is_zero_init(parameter: Tensor, limit: float) -> bool:
    if not parameter.is_floating_point() or parameter.numel() == 0:
        return False
    first = parameter.flatten()[0]
    return bool(first.abs() <= limit) and bool((parameter == first).all())


def _random_like(name: str, parameter: Tensor, generator: torch.Generator) -> Tensor:
    """Return random values of a scale that neither dominates the output nor vanishes in it."""
    if parameter.squeeze().ndim > 1:
        return torch.randn(parameter.shape, generator=generator) / (parameter[0].numel() ** 0.5)
    values = torch.rand(parameter.shape, generator=generator)
    return 0.1 * (values - 0.5) if name.endswith("bias") else 0.1 + 0.2 * values
