"""What a frozen vision transformer sees in a picture, and where it looks: its class token's last attention.

- Caron et al., DINO, 2021, https://arxiv.org/abs/2104.14294
- Zhang et al., I2P-MAE, 2022, https://arxiv.org/abs/2212.06785
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.overrides import TorchFunctionMode

from dimlift.errors import CannotLift
from dimlift.lifting.layers.attention.call_interceptor import prefer_fused_attention
from dimlift.methods.teachers.teacher import Teacher

CLASS_TOKENS = ("cls_token", "class_token", "class_embedding")
"""What networks call the token that stands for the whole picture; it comes first."""


class Look(NamedTuple):
    """Pictures as a teacher sees them.

    Attributes:
        maps: patch tokens on their grid.
        saliency: share of the class token's attention each patch gets, averaged over heads; adds up to at most 1.
    """

    maps: Float[Tensor, "batch channels h w"]
    saliency: Float[Tensor, "batch 1 h w"]


def require_attention(teacher: Teacher, size: int) -> int:
    """Stop early if a teacher has no class token whose attention could be read.

    Args:
        size: height and width of the pictures it will be shown.

    Returns:
        channels of its maps.

    Raises:
        CannotLift: telling what to take instead.
    """
    network = teacher.frozen.network
    names = [name.rpartition(".")[2] for name, _ in network.named_parameters()]
    if not set(CLASS_TOKENS) & set(names):
        raise _cannot_say(teacher)
    prefer_fused_attention(network)
    return look(teacher, torch.zeros(1, 3, size, size, device=next(network.parameters()).device)).maps.shape[1]


@torch.no_grad()
def look(teacher: Teacher, pictures: Float[Tensor, "batch 3 height width"]) -> Look:
    """Maps and saliency of pictures with values from 0 to 1, in one pass.

    The last attention is heard where torch computes it, so that biases, rotary positions and masks of any network
    have their part in it.

    Raises:
        CannotLift: if the last attention is not between a class token and the patches of the map.
    """
    with _Hearing() as hearing:
        maps = teacher.maps(pictures)
    if hearing.last is None:
        raise _cannot_say(teacher)
    query, key, mask = (hearing.last.get(name) for name in ("query", "key", "attn_mask"))
    patches = maps.shape[-2] * maps.shape[-1]
    if query.ndim != 4 or query.shape[:3] != key.shape[:3] or not 0 < key.shape[2] - patches < key.shape[2]:
        raise _cannot_say(teacher)
    scale = hearing.last.get("scale")
    scores = query[:, :, :1] @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        mask = mask.expand(*query.shape[:3], -1)[:, :, :1]
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    shares = scores.softmax(-1)[:, :, 0].mean(1)[:, -patches:]
    return Look(maps, shares.unflatten(1, (1, *maps.shape[-2:])))


class _Hearing(TorchFunctionMode):
    """Keeps what the last attention is computed from."""

    def __init__(self) -> None:
        super().__init__()
        self.last: dict[str, Any] | None = None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one call of torch."""
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            self.last = {**dict(zip(("query", "key", "value", "attn_mask"), args, strict=False)), **kwargs}
        return func(*args, **kwargs)


def _cannot_say(teacher: Teacher) -> CannotLift:
    return CannotLift(
        f"{teacher.name or type(teacher.frozen.network).__name__} has no class token whose last attention could be "
        "read, to say what is salient; take a vision transformer with one, such as timm:vit_small_patch14_dinov2"
    )
