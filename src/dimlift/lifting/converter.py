"""Conversion of a 2D network into a lifted one, in place."""

from typing import cast

import torch
from torch import nn

from dimlift.backbones.info import BackboneInfo
from dimlift.lifting.certify.certificate import MixingLayer
from dimlift.lifting.context import LiftContext
from dimlift.lifting.layer_selection import is_attention, is_leaf_attention
from dimlift.lifting.layers.attention.enable_spanning import enable_spanning
from dimlift.lifting.layers.attention.planecycle import block_stack, fold_blocks
from dimlift.lifting.layers.conv import InflatedConv2d, inflate_conv
from dimlift.lifting.layers.depth_embedding import add_depth_embedding
from dimlift.lifting.layers.depth_pool import DepthPool
from dimlift.lifting.layers.depth_rope import add_depth_rope, find_rotary_embedding
from dimlift.lifting.layers.spanning import prefer_fused_attention, spanning_interceptor
from dimlift.lifting.lifted_module import LiftedModule
from dimlift.lifting.registry import LAYER_HANDLERS, find_registered
from dimlift.lifting.stem import InputNormalisation


def convert(
    network: nn.Module, info: BackboneInfo, context: LiftContext, normalisation: InputNormalisation
) -> tuple[LiftedModule, list[MixingLayer]]:
    """Convert the layers of a 2D network in place.

    Args:
        network: the 2D network; it becomes `network` of the lifted module.
        info: its name, weights and licence.
        context: what `prepare` found out about it.
        normalisation: of the input.

    Returns:
        The lifted module, and the layers that mix along depth.

    Raises:
        LiftError: if a layer cannot be converted.
    """
    lifted = LiftedModule(network, context.plan, info, context.in_channels)
    lifted.image_size, lifted.padding = context.image_size, context.padding
    _normalise_input(lifted, normalisation, context)
    layers = _apply_layer_handlers(network)
    layers += _inflate_convs(lifted, context)
    layers += _stride_pools(network, context)
    layers += _pool_depth(network, context)
    layers += _span_attention(lifted, context)
    return lifted, layers


def _normalise_input(lifted: LiftedModule, normalisation: InputNormalisation, context: LiftContext) -> None:
    weight = next(lifted.network.parameters())
    same = normalisation.channels == lifted.in_channels

    def buffer(values: torch.Tensor) -> torch.Tensor:
        values = values if same else values.mean().expand(lifted.in_channels)
        return values.to(weight).view(1, -1, 1, 1, 1).clone()

    if normalisation.mean is not None:
        lifted.input_mean = buffer(normalisation.mean)
    if normalisation.std is None:
        return
    if not normalisation.fold_std(context.stem):
        lifted.input_scale = buffer(1 / normalisation.std)
    elif same:
        lifted.folded_std = dict.fromkeys(context.stem, normalisation.std)


def _apply_layer_handlers(network: nn.Module) -> list[MixingLayer]:
    found = [(name, m, find_registered(LAYER_HANDLERS, type(m))) for name, m in network.named_modules()]
    registered = [(name, module, handler) for name, module, handler in found if handler is not None]
    for _, module, handler in registered:
        handler(module)
    return [MixingLayer(name, "converted by a registered handler") for name, *_ in registered]


def _inflate_convs(lifted: LiftedModule, context: LiftContext) -> list[MixingLayer]:
    selected = {conv.name for conv in context.convs}
    for name, stem in context.stem.items():
        if name not in selected and context.in_channels != context.image_channels:
            inflate_conv(stem, name, 1, channels=context.in_channels)
    for conv in context.convs:
        layer = cast(nn.Conv2d, lifted.network.get_submodule(conv.name))
        inflate_conv(
            layer,
            conv.name,
            conv.k,
            profile=conv.inflation,
            axes=conv.axes,
            tubelets=conv.tubelets,
            factorised=conv.factorised,
            channels=context.in_channels if conv.name in context.stem else None,
            depth_args=conv.depth_args,
        )
        if conv.tubelets and conv.name in context.stem:
            cast(InflatedConv2d, layer).stacked_input = True
            lifted.tubelet_depth = conv.k
    return [MixingLayer(conv.name, str(conv)) for conv in context.convs]


def _stride_pools(network: nn.Module, context: LiftContext) -> list[MixingLayer]:
    for name, pool in context.pools.items():
        network.get_submodule(name).register_forward_hook(pool, prepend=True)
    return [MixingLayer(name, str(pool)) for name, pool in context.pools.items()]


def _pool_depth(network: nn.Module, context: LiftContext) -> list[MixingLayer]:
    layers = []
    for index, (stage, factor) in enumerate(zip(context.stages, context.plan.depth_pool, strict=False)):
        if factor > 1:
            network.get_submodule(stage.module).register_forward_hook(DepthPool(factor), prepend=True)
            layers.append(MixingLayer(f"stage {index} ({stage.module})", f"depth averaged by {factor}"))
    return layers


def _span_attention(lifted: LiftedModule, context: LiftContext) -> list[MixingLayer]:
    network, attention = lifted.network, context.plan.attention
    lifted.interceptor = spanning_interceptor(context.plan, context.changes_depth)
    if attention == "per_slice":
        return []
    first_conv = next(iter(context.stem.values()))
    prefer_fused_attention(network)
    if attention == "planecycle":
        folded = fold_blocks(network, block_stack(network, is_attention), first_conv)
        return [MixingLayer(name, plane) for name, plane in folded.items()]
    enable_spanning(network, attention)
    if find_rotary_embedding(network) is None:
        add_depth_embedding(first_conv)
    else:
        for module in [m for m in network.modules() if is_leaf_attention(m)]:
            add_depth_rope(module)
    return []
