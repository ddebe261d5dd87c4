"""What a lifted network does to depth, stage by stage, as plain JSON: what the report draws."""

import itertools
from typing import Any

from dimlift.lifting.layer_selection import is_attention, stage_of
from dimlift.lifting.layers.conv import TalkingConvolution
from dimlift.lifting.lifted_module import Lifted
from dimlift.lifting.stages import stages_of


def outline(lifted: Lifted) -> list[dict[str, Any]]:
    """A stage for each map, finest first; none for a network that answers with logits.

    Returns:
        for each stage the `stride` of its map (z, y, x) in voxels, its `channels`, the depths of the `kernels` that
        talk in it, how many slices of the volume the largest of them spans (`reach`), and its `attention` ("slice"
        where it has none).
    """
    if not lifted.strides:
        return []
    stages = stages_of(lifted.network)
    order = {name: index for index, (name, _) in enumerate(lifted.network.named_modules())}
    depths = [stride[0] for stride in lifted.strides]
    before = [depth // factor for depth, factor in itertools.zip_longest(depths, lifted.plan.reduce, fillvalue=1)]
    kernels: list[set[int]] = [set() for _ in depths]
    reach = [0 for _ in depths]
    attention: list[str | int] = ["slice" for _ in depths]
    for name, module in lifted.network.named_modules():
        if not name:
            continue
        index = min(stage_of(name, order, stages), len(depths) - 1)
        if isinstance(module, TalkingConvolution) and module.depth_size > 1:
            kernels[index].add(module.depth_size)
            # a stage is averaged over depth after its kernels, and slices of a tubelet become one before the others
            spans = depths[index] if module.tubelets else module.depth_size * before[index]
            reach[index] = max(reach[index], spans)
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
