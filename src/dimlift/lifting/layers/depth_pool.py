"""Average pooling along depth at the end of a stage, where a single tensor passes from one stage to the next."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.lifting.fold import current_fold, set_depth, split_depth


def average_slices(x: Float[Tensor, " n *rest"], factor: int) -> Float[Tensor, " n2 *rest"]:
    """Average groups of `factor` slices; the last group may be smaller (ceil). Does not change the current fold."""
    view = split_depth(x)
    depth = view.shape[1]
    complete = depth // factor
    parts = []
    if complete:
        groups = torch.unflatten(view[:, : complete * factor], 1, (complete, factor))  # traceable, unlike the method
        parts.append(groups.mean(2))
    if depth % factor:
        parts.append(view[:, complete * factor :].mean(1, keepdim=True))
    return (parts[0] if len(parts) == 1 else torch.cat(parts, 1)).flatten(0, 2)


class DepthPool:
    """Forward hook of the last module of a stage: pools its output over depth and updates the current fold.

    Args:
        factor: number of slices that are averaged.
    """

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, module: nn.Module, inputs: tuple[object, ...], output: object) -> object:
        """Average every tensor of the output over depth."""
        depth = current_fold().depth
        pooled = _pool_tensors(output, self.factor)
        set_depth(-(-depth // self.factor))
        return pooled


def _pool_tensors(output: object, factor: int) -> object:
    if isinstance(output, Tensor):
        pooled = average_slices(output, factor)
        channels_last = output.ndim == 4 and output.is_contiguous(memory_format=torch.channels_last)
        return pooled.contiguous(memory_format=torch.channels_last) if channels_last else pooled
    if isinstance(output, list | tuple):
        return type(output)(_pool_tensors(part, factor) for part in output)
    return output
