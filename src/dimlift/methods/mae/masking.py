"""Random blocks of a volume that are masked, and the mask re-applied to the maps inside a lifted network."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dimlift.lifting.fold import current_fold, fold
from dimlift.lifting.lifted_module import LiftedModule
from dimlift.lifting.stages import stages_of

Visible = Bool[Tensor, "batch 1 depth height width"]


def sample_visible_blocks(
    batch: int, size: Sequence[int], block: Sequence[int], mask_ratio: float, device: torch.device | None = None
) -> Visible:
    """Return which voxels of each volume are visible: the same number of blocks is masked in each.

    Random numbers are drawn on the CPU, so that a run does not depend on the device. At least one block is masked and
    one is visible. Blocks at the end of an axis may be smaller.

    Args:
        batch: number of volumes.
        size: (depth, height, width) of a volume.
        block: (depth, height, width) of a block.
        mask_ratio: fraction of the blocks that is masked.
        device: of the result.
    """
    grid = [-(-full // step) for full, step in zip(size, block, strict=True)]
    count = grid[0] * grid[1] * grid[2]
    masked = min(max(round(mask_ratio * count), 1), count - 1)
    rank = torch.rand(batch, count).argsort(1).argsort(1)
    visible = (rank >= masked).view(batch, 1, *grid)
    for axis, step in enumerate(block):
        visible = visible.repeat_interleave(step, axis + 2)
    return visible[:, :, : size[0], : size[1], : size[2]].to(device)


@contextmanager
def masked_stages(encoder: nn.Module, visible: Visible) -> Iterator[bool]:
    """While active, set the masked positions of every stage's output of a lifted network to zero.

    A position is masked if every voxel it covers is. Kernels, norms and biases fill masked regions otherwise, so that
    maps would depend on the shape of the mask (sparse masked modelling, Tian et al., 2023,
    https://arxiv.org/abs/2301.03580).

    Yields:
        Whether any stage is masked: not in a network that is not lifted, or whose stages return tokens.
    """
    if not isinstance(encoder, LiftedModule):
        yield False
        return
    network = encoder.network
    layout = getattr(network, "output_fmt", None)
    channels_last = str(getattr(layout, "value", layout)) == "NHWC"

    def apply_mask(module: nn.Module, inputs: object, output: object) -> object:
        return _mask_map(output, visible, channels_last)

    names = dict.fromkeys(stage.module for stage in stages_of(network) if stage.module and not stage.inside_block)
    handles = [network.get_submodule(name).register_forward_hook(apply_mask) for name in names]
    try:
        yield bool(handles) and all(map_strides(encoder))
    finally:
        for handle in handles:
            handle.remove()


def map_strides(encoder: LiftedModule) -> list[bool]:
    """Return for each map whether it is coarser than the one before, as in networks of convolutions."""
    sides = [stride[-1] for stride in encoder.strides]
    return [later > earlier for earlier, later in itertools.pairwise(sides)] or [True]


def _mask_map(output: object, visible: Visible, channels_last: bool) -> object:
    if not isinstance(output, Tensor) or output.ndim != 4:
        return output
    height, width = output.shape[1:3] if channels_last else output.shape[2:]
    depth = output.shape[0] // current_fold().batch
    keep: Float[Tensor, ...] = F.adaptive_max_pool3d(visible.to(output.dtype), (depth, height, width))
    slices = fold(keep)
    return output * (slices.permute(0, 2, 3, 1) if channels_last else slices)
