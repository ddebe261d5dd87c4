"""A 2D vision transformer whose tokens are sparse tubes of a volume or video, and of images in the same step.

- Piergiovanni et al., TubeViT, CVPR 2023, https://arxiv.org/abs/2212.03229
"""

import copy
from typing import Any, Literal, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.errors import ConfigError, LiftError
from dimlift.models.voxel_transformer import count_heads, position_table, run_blocks
from dimlift.tokenizers.positions import sinusoidal_embedding
from dimlift.tokenizers.tubes import TubeTokenizer, TubeTokens

Pool = Literal["network", "attention"]


class TubeTransformer(nn.Module):
    """Network (B, C, D, H, W) -> logits (B, num_classes).

    Position embeddings are fixed (`sinusoidal_embedding`) and replace the network's learnt ones, except for that of its
    class token. Blocks, norms and attention heads are the network's.

    Args:
        tokenizer: returns tokens of the transformer's width.
        network: a plain timm vision transformer; it is copied.
        num_classes: number of outputs.
        pool: pooling of the tokens: as in the network's own head, or attention pooling with a learnt query.
        num_image_classes: classes of images trained together with the volumes, with a head of their own; 0 for none.
        gate_from_block: number of first blocks that are frozen, together with the tubes; behind them the tokens are
            added again, times tanh(alpha), alpha initialised to 0. 0 for no gate.
        gradient_checkpointing: recompute the blocks in the backward pass: less memory, more time.

    Raises:
        LiftError: if the network is no such transformer, or its tokens have another width.
        ConfigError: if there are fewer blocks than `gate_from_block`.
    """

    def __init__(
        self,
        tokenizer: TubeTokenizer,
        network: nn.Module,
        num_classes: int,
        *,
        pool: Pool = "network",
        num_image_classes: int = 0,
        gate_from_block: int = 0,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.tokenizer, self.pool, self.gate_from_block = tokenizer, pool, gate_from_block
        body: Any = copy.deepcopy(network)
        positions, _ = position_table(body)
        if positions.shape[-1] != tokenizer.width:
            raise LiftError(
                f"the transformer has tokens of width {positions.shape[-1]}, the tokenizer of width {tokenizer.width}"
            )
        if not 0 <= gate_from_block <= len(body.blocks):
            raise ConfigError(
                f"gate_from_block is {gate_from_block}, but the transformer has {len(body.blocks)} blocks"
            )
        if body.cls_token is not None and not getattr(body, "no_embed_class", False):
            body.cls_token.data += positions[:, :1].detach()
        body.pos_embed = None
        body.patch_embed = nn.Identity()  # replaced by the tokenizer
        body.reset_classifier(0)
        self.encoder = body
        self.heads = count_heads(body)
        width = int(body.num_features)
        if pool == "attention":
            body.attn_pool, body.fc_norm = None, nn.Identity()  # the network's own pooling
            self.query = nn.Parameter(torch.empty(1, 1, width))
            nn.init.trunc_normal_(self.query, std=0.02)
            self.attention = nn.MultiheadAttention(width, self.heads, batch_first=True)
        self.head = nn.Linear(width, num_classes)
        self.image_head = nn.Linear(width, num_image_classes) if num_image_classes else None
        self.alpha = nn.Parameter(torch.zeros(1)) if gate_from_block else None
        for module in self._frozen_modules:
            module.requires_grad_(False)
        self.gradient_checkpointing = gradient_checkpointing

    def forward(self, volume: Float[Tensor, "batch channels depth height width"]) -> Float[Tensor, "batch classes"]:
        """Return the logits of every volume."""
        return self.head(self.pooled(self.tokenizer(volume)))

    def forward_images(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Return the logits of images, from tubes of one slice and the images' own head.

        Raises:
            ConfigError: without a head for images.
        """
        if self.image_head is None:
            raise ConfigError("this network was built for volumes only; set num_image_classes")
        return self.image_head(self.pooled(self.tokenizer.tokenize_images(images)))

    def pooled(self, tokens: TubeTokens) -> Float[Tensor, "batch width"]:
        """Return one vector per volume or image."""
        body: Any = self.encoder
        values = self.features(tokens)
        if self.pool == "network":
            return body.forward_head(values, pre_logits=True)
        query = self.query.expand(len(values), -1, -1)
        return self.attention(query, values, values, need_weights=False)[0][:, 0]

    def features(self, tokens: TubeTokens) -> Float[Tensor, "batch prefixed width"]:
        """Return the transformer's output for tokens; class and register tokens come first."""
        body: Any = self.encoder
        values = tokens.values + sinusoidal_embedding(tokens.centres, tokens.values.shape[-1]).to(tokens.values)
        prefix = [body.cls_token, getattr(body, "reg_token", None)]
        values = torch.cat([p.expand(len(values), -1, -1) for p in prefix if p is not None] + [values], dim=1)
        values = inputs = body.norm_pre(body.pos_drop(values))
        checkpointing = self.gradient_checkpointing and self.training
        if self.alpha is not None:
            values = run_blocks(body.blocks[: self.gate_from_block], values, checkpointing)
            values = values + self.alpha.tanh() * inputs  # z = MLP(LN(y)) + y + tanh(alpha) z0
        return body.norm(run_blocks(body.blocks[self.gate_from_block :], values, checkpointing))

    def train(self, mode: bool = True) -> Self:
        """Set training mode everywhere except in frozen modules."""
        super().train(mode)
        for module in self._frozen_modules:
            module.eval()
        return self

    @property
    def _frozen_modules(self) -> list[nn.Module]:
        body: Any = self.encoder
        return [self.tokenizer, *body.blocks[: self.gate_from_block]] if self.gate_from_block else []
