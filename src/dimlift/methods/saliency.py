"""What a frozen vision transformer sees in a picture, and where it looks: its class token's last attention.

- Caron et al., DINO, 2021, https://arxiv.org/abs/2104.14294
- Zhang et al., I2P-MAE, 2022, https://arxiv.org/abs/2212.06785
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from dimlift.errors import CannotLift
from dimlift.methods.teacher import Teacher


class Look(NamedTuple):
    """Pictures as a teacher sees them.

    Attributes:
        maps: patch tokens on their grid.
        saliency: share of the class token's attention each patch gets, averaged over heads; adds up to at most 1.
    """

    maps: Float[Tensor, "batch channels h w"]
    saliency: Float[Tensor, "batch 1 h w"]


def require_attention(teacher: Teacher) -> None:
    """Stop early if a teacher has no class token whose attention could be read.

    Raises:
        CannotLift: telling what to take instead.
    """
    network: Any = teacher.frozen.network
    attention = getattr(getattr(network, "blocks", [None])[-1], "attn", None)
    if getattr(network, "cls_token", None) is None or not hasattr(attention, "qkv"):
        raise CannotLift(
            f"{teacher.name or type(network).__name__} has no class token with attention of its own to say what is "
            "salient; take a plain vision transformer, such as timm:vit_small_patch14_dinov2"
        )


@torch.no_grad()
def look(teacher: Teacher, pictures: Float[Tensor, "batch 3 height width"]) -> Look:
    """Maps and saliency of pictures with values from 0 to 1, in one pass."""
    network: Any = teacher.frozen.network
    attention = network.blocks[-1].attn
    heard: list[Tensor] = []
    hook = attention.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0]))
    try:
        maps = teacher.maps(pictures)
    finally:
        hook.remove()
    values = heard[0]
    query, key, _ = attention.qkv(values).unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    query = getattr(attention, "q_norm", torch.nn.Identity())(query)
    key = getattr(attention, "k_norm", torch.nn.Identity())(key)
    shares = (query[:, :, :1] * attention.scale @ key.transpose(-2, -1)).softmax(-1)[:, :, 0]
    patches = shares.mean(1)[:, network.num_prefix_tokens :]
    return Look(maps, patches.unflatten(1, (1, *maps.shape[-2:])))
