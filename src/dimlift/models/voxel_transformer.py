"""A 2D vision transformer whose tokens come from a volume; its blocks, norms and class token are unchanged.

- Wang et al., Simple3D-Former, 2022, https://arxiv.org/abs/2209.07026
"""

import copy
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dimlift.errors import LiftError
from dimlift.tokenizers.tokens import Tokens

NEEDED = ("blocks", "norm", "pos_embed", "cls_token", "patch_embed", "forward_head", "num_prefix_tokens")


class VolumeTokenizer(Protocol):
    """Tokenizer of volumes.

    Attributes:
        width: channels of a token.
    """

    width: int

    def __call__(self, volume: Tensor) -> Tokens:
        """(B, C, D, H, W) -> tokens."""
        ...


class VoxelTransformer(nn.Module):
    """Network (B, C, D, H, W) -> logits (B, num_classes).

    A token's position embedding is the 2D network's, interpolated at its (y, x), plus a learnt one along depth that is
    zero-initialised. Attention heads and norms are the 2D network's too.

    Args:
        tokenizer: returns tokens of the transformer's width.
        network: a timm vision transformer with learnt position embeddings; it is copied.
        num_classes: number of outputs.
        num_depth_positions: learnt position embeddings along depth; they are interpolated.
        gradient_checkpointing: recompute the blocks in the backward pass: less memory, more time.

    Raises:
        LiftError: if the network is no such transformer, or its tokens have another width.
    """

    def __init__(
        self,
        tokenizer: nn.Module,
        network: nn.Module,
        num_classes: int,
        *,
        num_depth_positions: int = 16,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        body: Any = copy.deepcopy(network)
        positions, self.table = position_table(body)
        width = positions.shape[-1]
        if getattr(tokenizer, "width", width) != width:
            raise LiftError(f"the transformer has tokens of width {width}, the tokenizer of width {tokenizer.width}")
        body.reset_classifier(0)
        body.patch_embed = nn.Identity()  # replaced by the tokenizer
        self.encoder = body
        self.head = nn.Linear(body.num_features, num_classes)
        self.heads = count_heads(body)
        self.depth_position = nn.Parameter(torch.zeros(1, num_depth_positions, width))
        self.gradient_checkpointing = gradient_checkpointing

    def forward(self, volume: Float[Tensor, "batch channels depth height width"]) -> Float[Tensor, "batch classes"]:
        """Return the logits of every volume."""
        body: Any = self.encoder
        return self.head(body.forward_head(self.features(self.tokenizer(volume)), pre_logits=True))

    def features(self, tokens: Tokens) -> Float[Tensor, "batch prefixed width"]:
        """Return the transformer's output for tokens; class and register tokens come first."""
        body: Any = self.encoder
        prefix_positions, token_positions = self._positions(tokens)
        batch = len(tokens.values)
        prefix = [p.expand(batch, -1, -1) for p in (body.cls_token, getattr(body, "reg_token", None)) if p is not None]
        values = tokens.values + token_positions
        if prefix:
            values = torch.cat([torch.cat(prefix, dim=1) + prefix_positions, values], dim=1)
        values = body.norm_pre(body.pos_drop(values))
        return body.norm(run_blocks(body.blocks, values, self.gradient_checkpointing and self.training))

    def _positions(self, tokens: Tokens) -> tuple[Tensor | float, Tensor]:
        """Return the position embeddings of prefix tokens and of tokens."""
        body: Any = self.encoder
        count = 0 if getattr(body, "no_embed_class", False) else body.num_prefix_tokens
        table = body.pos_embed[:, count:].transpose(1, 2).unflatten(2, self.table)
        batch = len(tokens.values)
        uv = (2 * tokens.centres[..., 1:] - 1).flip(-1)[:, None]  # grid_sample expects x first
        plane = F.grid_sample(table.expand(batch, -1, -1, -1), uv.to(table), padding_mode="border", align_corners=False)
        line = self.depth_position.transpose(1, 2)[:, :, :, None].expand(batch, -1, -1, -1)
        z = 2 * tokens.centres[..., 0] - 1
        line_uv = torch.stack([torch.zeros_like(z), z], dim=-1)[:, None]
        depth = F.grid_sample(line, line_uv.to(line), padding_mode="border", align_corners=False)
        return body.pos_embed[:, :count] if count else 0.0, (plane + depth)[:, :, 0].transpose(1, 2)


def run_blocks(blocks: Any, values: Tensor, checkpointing: bool) -> Tensor:
    """Apply transformer blocks.

    Args:
        checkpointing: recompute the blocks in the backward pass.
    """
    for block in blocks:
        values = checkpoint(block, values, use_reentrant=False) if checkpointing else block(values)
    return values


def position_table(network: Any) -> tuple[Tensor, tuple[int, int]]:
    """Return the position embeddings of a vision transformer, and the (rows, columns) of their patches.

    Raises:
        LiftError: if it has none, or has another architecture.
    """
    name = type(network).__name__
    missing = [part for part in NEEDED if not hasattr(network, part)]
    if missing:
        raise LiftError(
            f"{name} has no {', '.join(missing)}; voxel tokens need a plain timm vision transformer, such as "
            "vit_small_patch16_224 or deit_base_patch16_224"
        )
    if network.pos_embed is None or getattr(network, "rope", None) is not None:
        raise LiftError(
            f"{name} has no learnt position embeddings (they may be relative or rotary); use another network"
        )
    grid = network.patch_embed.grid_size
    return network.pos_embed, (int(grid[0]), int(grid[1]))


def count_heads(network: Any) -> int:
    """Return the number of attention heads of a transformer's first block.

    Raises:
        LiftError: if its attention has no attribute `num_heads`.
    """
    heads = getattr(getattr(network.blocks[0], "attn", None), "num_heads", None)
    if heads is None:
        raise LiftError(f"the attention of {type(network).__name__} has no `num_heads`; use another network")
    return int(heads)
