"""Reduce depth where one tensor passes: at the end of a stage."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.lifting.fold import by_depth, current_fold, set_depth


def average_slices(x: Float[Tensor, " n *rest"], factor: int) -> Float[Tensor, " n2 *rest"]:
    """Average runs of `factor` slices; the last run may be shorter (ceil). Does not tell the forward."""
    view = by_depth(x)
    depth = view.shape[1]
    whole = depth // factor
    parts = []
    if whole:
        parts.append(view[:, : whole * factor].unflatten(1, (whole, factor)).mean(2))
    if depth % factor:
        parts.append(view[:, whole * factor :].mean(1, keepdim=True))
    return (parts[0] if len(parts) == 1 else torch.cat(parts, 1)).flatten(0, 2)


class Reduction:
    """A forward hook: what leaves the stage has fewer slices, and so has everything after it."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, module: nn.Module, inputs: tuple[object, ...], output: object) -> object:
        """Average every tensor of the stage's output over depth."""
        depth = current_fold().depth
        reduced = _map(output, self.factor)
        set_depth(-(-depth // self.factor))
        return reduced


def _map(output: object, factor: int) -> object:
    if isinstance(output, Tensor):
        fewer = average_slices(output, factor)
        channels_last = output.ndim == 4 and output.is_contiguous(memory_format=torch.channels_last)
        return fewer.contiguous(memory_format=torch.channels_last) if channels_last else fewer
    if isinstance(output, list | tuple):
        return type(output)(_map(part, factor) for part in output)
    return output
