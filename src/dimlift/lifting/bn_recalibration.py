"""Recompute batch-norm statistics: those of the 2D network come from 2D images, without depth mixing."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dimlift.errors import LiftError, ShapeError


def recalibrate_bn(network: nn.Module, volumes: Iterable[Float[Tensor, "batch channel depth height width"]]) -> int:
    """Recompute the running mean and variance of every batch norm on volumes; no weight changes.

    Averaging over slices reduces the variance of activations (for k independent slices to a k-th), and volumes differ
    from 2D images, so the 2D network's statistics scale them incorrectly. Every batch has the same weight, whatever its
    size. Training modes, gradients and, if an error occurs, the statistics are left as they were.

    Args:
        network: a lifted network, or a model that contains one.
        volumes: input batches, preprocessed as in training; about ten are enough.

    Returns:
        The number of batch norms.

    Raises:
        LiftError: if the network has no batch norm with running statistics.
        ShapeError: if there are no volumes.
    """
    norms = list(tracked_batch_norms(network))
    if not norms:
        raise LiftError("the network has no batch norm with running statistics; there is nothing to recalibrate")
    training = {module: module.training for module in network.modules()}
    device = next(iter(network.parameters())).device
    count = 0
    network.eval()
    try:
        with update_bn_statistics(network, None), torch.no_grad():
            for _, norm in norms:
                norm.reset_running_stats()
            for volume in volumes:
                network(volume.to(device))
                count += 1
            if not count:
                raise ShapeError("there are no volumes to recalibrate on; give at least one (B, C, D, H, W)")
    finally:
        for module, mode in training.items():
            module.training = mode
    return len(norms)


def tracked_batch_norms(network: nn.Module) -> Iterator[tuple[str, _BatchNorm]]:
    """Yield every batch norm with running statistics, with its name."""
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            yield name, module


@contextmanager
def update_bn_statistics(network: nn.Module, momentum: float | None) -> Iterator[dict[str, Tensor]]:
    """Update, while active, the batch-norm statistics of a network in eval mode at every forward.

    Args:
        network: a network in eval mode.
        momentum: weight of the newest batch; None for the mean over all batches.

    Yields:
        The original statistics by name. They are restored if an error occurs.
    """
    norms = list(tracked_batch_norms(network))
    before = {f"{name}.{key}": tensor.clone() for name, norm in norms for key, tensor in norm.named_buffers()}
    momenta = [norm.momentum for _, norm in norms]
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
        for (_, norm), old_momentum in zip(norms, momenta, strict=True):
            norm.training, norm.momentum = False, old_momentum
