"""Feature maps of a frozen vision transformer, and their saliency: the class token's attention in the last block.

- Caron et al., DINO, 2021, https://arxiv.org/abs/2104.14294
- Zhang et al., I2P-MAE, 2022, https://arxiv.org/abs/2212.06785
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dimlift.errors import LiftError
from dimlift.lifting.layers.call_interceptor import CallInterceptor, TorchFunction, attention_arguments
from dimlift.lifting.layers.spanning import prefer_fused_attention
from dimlift.methods.teachers.teacher import Teacher

CLASS_TOKENS = ("cls_token", "class_token", "class_embedding")
"""Names of the class token's parameter; the token precedes the patches."""


class TeacherOutput(NamedTuple):
    """Output of a teacher for images.

    Attributes:
        maps: patch tokens on their grid.
        saliency: fraction of the class token's attention on each patch, averaged over heads; sums to at most 1.
    """

    maps: Float[Tensor, "batch channels h w"]
    saliency: Float[Tensor, "batch 1 h w"]


def require_attention(teacher: Teacher, size: int) -> int:
    """Check that a teacher has a class token whose attention can be read.

    Args:
        teacher: the frozen network.
        size: height and width of its images.

    Returns:
        Number of channels of its maps.

    Raises:
        LiftError: if it has none; the message names an alternative.
    """
    network = teacher.frozen.network
    names = [name.rpartition(".")[2] for name, _ in network.named_parameters()]
    if not set(CLASS_TOKENS) & set(names):
        raise _no_class_token(teacher)
    prefer_fused_attention(network)
    image = torch.zeros(1, 3, size, size, device=next(network.parameters()).device)
    return attention_saliency(teacher, image).maps.shape[1]


@torch.no_grad()
def attention_saliency(teacher: Teacher, images: Float[Tensor, "batch 3 height width"]) -> TeacherOutput:
    """Return maps and saliency of images with values from 0 to 1, in one forward.

    The arguments of the last call of scaled_dot_product_attention are recorded, so that biases, rotary positions and
    masks of any network are included.

    Raises:
        LiftError: if the last attention is not between a class token and the patches of the map.
    """
    recorder = LastAttentionRecorder()
    with CallInterceptor(recorder):
        maps = teacher.feature_map(images)
    if recorder.arguments is None:
        raise _no_class_token(teacher)
    query, key, mask = recorder.arguments["query"], recorder.arguments["key"], recorder.arguments.get("attn_mask")
    patches = maps.shape[-2] * maps.shape[-1]
    if query.ndim != 4 or query.shape[:3] != key.shape[:3] or not 0 < key.shape[2] - patches < key.shape[2]:
        raise _no_class_token(teacher)
    scale = recorder.arguments.get("scale")
    scores = query[:, :, :1] @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        mask = mask.expand(*query.shape[:3], -1)[:, :, :1]
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    saliency = scores.softmax(-1)[:, :, 0].mean(1)[:, -patches:]
    return TeacherOutput(maps, saliency.unflatten(1, (1, *maps.shape[-2:])))


class LastAttentionRecorder:
    """Call handler: records the arguments of the last attention.

    Attributes:
        arguments: by name; None before the first call.
    """

    functions = (F.scaled_dot_product_attention,)

    def __init__(self) -> None:
        self.arguments: dict[str, Any] | None = None

    def __call__(self, function: TorchFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Record the arguments and run the call."""
        self.arguments = attention_arguments(args, kwargs)
        return function(*args, **kwargs)


def _no_class_token(teacher: Teacher) -> LiftError:
    return LiftError(
        f"{teacher.name or type(teacher.frozen.network).__name__} has no class token whose last attention can be read "
        "as saliency; use a vision transformer with one, such as timm:vit_small_patch14_dinov2"
    )
