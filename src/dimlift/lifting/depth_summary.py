"""Summary of what a lifted network does to depth, stage by stage, as plain JSON for the report."""

import itertools
from typing import Any

from dimlift.lifting.layer_selection import is_attention, stage_of
from dimlift.lifting.layers.conv import InflatedConv2d
from dimlift.lifting.lifted_module import LiftedModule
from dimlift.lifting.stages import stages_of


def depth_summary(lifted: LiftedModule) -> list[dict[str, Any]]:
    """Return one entry for each map, finest first; an empty list for a network that returns logits.

    Returns:
        For each stage: `stride` of its map (z, y, x) in voxels, `channels`, `kernels` (depths of its inflated kernels),
        `reach` (number of slices of the volume the largest of them covers) and `attention` ("per_slice" without any).
    """
    if not lifted.strides:
        return []
    stages = stages_of(lifted.network)
    order = {name: index for index, (name, _) in enumerate(lifted.network.named_modules())}
    depths = [round(stride[0]) for stride in lifted.strides]
    before = [depth // factor for depth, factor in itertools.zip_longest(depths, lifted.plan.depth_pool, fillvalue=1)]
    kernels: list[set[int]] = [set() for _ in depths]
    reach = [0 for _ in depths]
    attention: list[str | int] = ["per_slice" for _ in depths]
    for name, module in lifted.network.named_modules():
        if not name:
            continue
        index = min(stage_of(name, order, stages), len(depths) - 1)
        if isinstance(module, InflatedConv2d) and module.depth_kernel_size > 1:
            kernels[index].add(module.depth_kernel_size)
            # depth is pooled after the kernels of a stage; tubelets reduce it before the others
            step = module.depth_args.step
            slices = depths[index] if module.tubelets else module.depth_kernel_size * before[index] // step
            reach[index] = max(reach[index], slices)
        if is_attention(module):
            attention[index] = lifted.plan.attention
    return [
        {
            "stride": list(stride),
            "channels": lifted.channels[index],
            "kernels": sorted(kernels[index]),
            "reach": reach[index],
            "attention": attention[index],
        }
        for index, stride in enumerate(lifted.strides)
    ]
