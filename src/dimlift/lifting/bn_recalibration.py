"""Batch-norm statistics measured again: those of the 2D network were made for pictures, and for no neighbours."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dimlift.errors import CannotLift, ShapeError


def recalibrate(network: nn.Module, volumes: Iterable[Float[Tensor, "batch channel depth height width"]]) -> int:
    """Measure every batch norm's mean and variance anew on volumes of the user's; no weight changes.

    Averaging over slices makes what passes a layer smaller (k unrelated slices have a k-th of the variance), and
    volumes are no photographs: statistics of the 2D network then scale it wrongly. Each entry of `volumes` counts the
    same, whatever its size. Modes and gradients stay as they are, and so do the statistics if anything goes wrong.

    Args:
        network: a lifted network, or a model that holds one.
        volumes: batches as it reads them, prepared as in training; ten or so are enough.

    Returns:
        The number of batch norms measured.

    Raises:
        CannotLift: if the network has no batch norm with statistics.
        ShapeError: if there are no volumes.
    """
    norms = list(norms_with_statistics(network))
    if not norms:
        raise CannotLift("the network has no batch norm with running statistics; there is nothing to recalibrate")
    training = {module: module.training for module in network.modules()}
    place = next(iter(network.parameters()))
    shown = 0
    network.eval()
    try:
        with measuring(network, None), torch.no_grad():
            for _, norm in norms:
                norm.reset_running_stats()
            for volume in volumes:
                network(volume.to(place.device))
                shown += 1
            if not shown:
                raise ShapeError("there are no volumes to recalibrate on; give at least one (B, C, D, H, W)")
    finally:
        for module, mode in training.items():
            module.training = mode
    return len(norms)


def norms_with_statistics(network: nn.Module) -> Iterator[tuple[str, _BatchNorm]]:
    """Every batch norm that keeps running statistics, by name."""
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            yield name, module


@contextmanager
def measuring(network: nn.Module, momentum: float | None) -> Iterator[dict[str, Tensor]]:
    """While it lasts, batch norms of a network in eval mode take their statistics from what they are shown.

    Args:
        momentum: of the newest batch; None averages all batches alike.

    Yields:
        What the statistics were, by name. They are put back if anything is raised.
    """
    norms = list(norms_with_statistics(network))
    before = {f"{name}.{key}": tensor.clone() for name, norm in norms for key, tensor in norm.named_buffers()}
    rates = [norm.momentum for _, norm in norms]
    try:
        for _, norm in norms:
            norm.training, norm.momentum = True, momentum
        yield before
    except BaseException:
        with torch.no_grad():
            for name, old in before.items():
                network.get_buffer(name).copy_(old)
        raise
    finally:
        for (_, norm), rate in zip(norms, rates, strict=True):
            norm.training, norm.momentum = False, rate
