"""A 2D vision transformer whose tokens come from a volume: its blocks, norms and class token as they are.

- Wang et al., Simple3D-Former, 2022, https://arxiv.org/abs/2209.07026
"""

import copy
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dimlift.errors import CannotLift
from dimlift.tokenizers.tokens import Tokens

NEEDED = ("blocks", "norm", "pos_embed", "cls_token", "patch_embed", "forward_head", "num_prefix_tokens")


class Tokenizer(Protocol):
    """Makes tokens of volumes."""

    width: int

    def __call__(self, volume: Tensor) -> Tokens:
        """(B, C, D, H, W) -> tokens."""
        ...


class VoxelTransformer(nn.Module):
    """(B, C, D, H, W) -> logits (B, classes).

    A token's position is read off the 2D network's own table at its (y, x), plus a learnt one along depth that starts
    at zero. So does every head count and every norm come with the 2D network: nothing of it is built anew.

    Args:
        tokenizer: makes tokens as wide as the transformer's.
        network: a timm vision transformer with learnt positions; left untouched.
        classes: length of the answer.
        depth_positions: places along depth that positions are learnt for; others read between them.
        gradient_checkpointing: recompute the blocks in the backward pass: less memory, more time.

    Raises:
        CannotLift: if the network is no such transformer, or its tokens have another width.
    """

    def __init__(
        self,
        tokenizer: nn.Module,
        network: nn.Module,
        classes: int,
        *,
        depth_positions: int = 16,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        body: Any = copy.deepcopy(network)
        positions, self.table = position_table(body)
        width = positions.shape[-1]
        if getattr(tokenizer, "width", width) != width:
            raise CannotLift(f"the transformer has tokens of {width} numbers, the tokenizer's have {tokenizer.width}")
        body.reset_classifier(0)
        body.patch_embed = nn.Identity()  # images came in there
        self.encoder = body
        self.head = nn.Linear(body.num_features, classes)
        self.heads = count_heads(body)
        self.depth_position = nn.Parameter(torch.zeros(1, depth_positions, width))
        self.gradient_checkpointing = gradient_checkpointing

    def forward(self, volume: Float[Tensor, "batch channels depth height width"]) -> Float[Tensor, "batch classes"]:
        """Logits of every volume."""
        body: Any = self.encoder
        return self.head(body.forward_head(self.features(self.tokenizer(volume)), pre_logits=True))

    def features(self, tokens: Tokens) -> Float[Tensor, "batch prefixed width"]:
        """What the transformer makes of tokens; class and register tokens come first."""
        body: Any = self.encoder
        at_prefix, at_tokens = self._positions(tokens)
        batch = len(tokens.values)
        prefix = [p.expand(batch, -1, -1) for p in (body.cls_token, getattr(body, "reg_token", None)) if p is not None]
        values = tokens.values + at_tokens
        if prefix:
            values = torch.cat([torch.cat(prefix, dim=1) + at_prefix, values], dim=1)
        values = body.norm_pre(body.pos_drop(values))
        for block in body.blocks:
            if self.gradient_checkpointing and self.training:
                values = checkpoint(block, values, use_reentrant=False)
            else:
                values = block(values)
        return body.norm(values)

    def _positions(self, tokens: Tokens) -> tuple[Tensor | float, Tensor]:
        body: Any = self.encoder
        count = 0 if getattr(body, "no_embed_class", False) else body.num_prefix_tokens
        table = body.pos_embed[:, count:].transpose(1, 2).unflatten(2, self.table)
        batch = len(tokens.values)
        places = (2 * tokens.centres[..., 1:] - 1).flip(-1)[:, None]  # grid_sample wants x first
        plane = F.grid_sample(
            table.expand(batch, -1, -1, -1), places.to(table), padding_mode="border", align_corners=False
        )
        line = self.depth_position.transpose(1, 2)[:, :, :, None].expand(batch, -1, -1, -1)
        heights = 2 * tokens.centres[..., 0] - 1
        upright = torch.stack([torch.zeros_like(heights), heights], dim=-1)[:, None]
        depth = F.grid_sample(line, upright.to(line), padding_mode="border", align_corners=False)
        return body.pos_embed[:, :count] if count else 0.0, (plane + depth)[:, :, 0].transpose(1, 2)


def position_table(network: Any) -> tuple[Tensor, tuple[int, int]]:
    """Positions of a vision transformer, and the (rows, columns) of patches they are for.

    Raises:
        CannotLift: if it has none, or is built in another way.
    """
    name = type(network).__name__
    missing = [part for part in NEEDED if not hasattr(network, part)]
    if missing:
        raise CannotLift(
            f"{name} has no {', '.join(missing)}; voxel tokens go through a plain vision transformer of timm's, "
            "such as vit_small_patch16_224 or deit_base_patch16_224"
        )
    if network.pos_embed is None or getattr(network, "rope", None) is not None:
        raise CannotLift(f"{name} has no table of positions to read (it may have relative or rotary ones); use another")
    grid = network.patch_embed.grid_size
    return network.pos_embed, (int(grid[0]), int(grid[1]))


def count_heads(network: Any) -> int:
    """Attention heads of a transformer, counted in its first block.

    Raises:
        CannotLift: if its attention does not say.
    """
    heads = getattr(getattr(network.blocks[0], "attn", None), "num_heads", None)
    if heads is None:
        raise CannotLift(f"the blocks of {type(network).__name__} do not say how many heads they have; use another")
    return int(heads)
