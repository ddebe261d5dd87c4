"""A 2D vision transformer whose tokens are sparse tubes of a volume or a video, and of pictures in the same step.

- Piergiovanni et al., TubeViT, CVPR 2023, https://arxiv.org/abs/2212.03229
"""

import copy
from typing import Any, Literal, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dimlift.errors import CannotLift, ConfigError
from dimlift.models.voxel_transformer import count_heads, position_table
from dimlift.tokenizers.positions import sinusoids
from dimlift.tokenizers.tubes import Tubes, TubeTokens

Pool = Literal["network", "attention"]


class TubeTransformer(nn.Module):
    """(B, C, D, H, W) -> logits (B, classes).

    Positions are fixed (`sinusoids`); the network's own, learnt for one grid of patches, are let go, but for that of
    its class token. Blocks, norms and heads of attention are the network's.

    Args:
        tokenizer: makes tokens as wide as the transformer's.
        network: a plain timm vision transformer; left untouched.
        classes: length of the answer.
        pool: how tokens become one vector: as the network's own head does, or by attention with a learnt question.
        picture_classes: of pictures learnt beside the volumes, with a last layer of their own; 0 for none.
        gate_after: the first so many blocks, and the tubes, stay as they are; behind them the tokens come in once
            more, times tanh(alpha), alpha 0 at the start. 0 for no gate.
        gradient_checkpointing: recompute the blocks in the backward pass: less memory, more time.

    Raises:
        CannotLift: if the network is no such transformer, or its tokens have another width.
        ConfigError: if the gate lies behind no block.
    """

    def __init__(
        self,
        tokenizer: TubeTokens,
        network: nn.Module,
        classes: int,
        *,
        pool: Pool = "network",
        picture_classes: int = 0,
        gate_after: int = 0,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.tokenizer, self.pool, self.gate_after = tokenizer, pool, gate_after
        body: Any = copy.deepcopy(network)
        positions, _ = position_table(body)
        if positions.shape[-1] != tokenizer.width:
            raise CannotLift(
                f"the transformer has tokens of {positions.shape[-1]} numbers, the tokenizer's have {tokenizer.width}"
            )
        if not 0 <= gate_after <= len(body.blocks):
            raise ConfigError(f"gate_after is {gate_after}, but the transformer has {len(body.blocks)} blocks")
        if body.cls_token is not None and not getattr(body, "no_embed_class", False):
            body.cls_token.data += positions[:, :1].detach()
        body.pos_embed = None
        body.patch_embed = nn.Identity()  # images came in there
        body.reset_classifier(0)
        self.encoder = body
        self.heads = count_heads(body)
        width = int(body.num_features)
        if pool == "attention":
            body.attn_pool, body.fc_norm = None, nn.Identity()  # the head's own way
            self.question = nn.Parameter(torch.empty(1, 1, width))
            nn.init.trunc_normal_(self.question, std=0.02)
            self.attention = nn.MultiheadAttention(width, self.heads, batch_first=True)
        self.head = nn.Linear(width, classes)
        self.picture_head = nn.Linear(width, picture_classes) if picture_classes else None
        self.alpha = nn.Parameter(torch.zeros(1)) if gate_after else None
        for part in self._still:
            part.requires_grad_(False)
        self.gradient_checkpointing = gradient_checkpointing

    def forward(self, volume: Float[Tensor, "batch channels depth height width"]) -> Float[Tensor, "batch classes"]:
        """Logits of every volume."""
        return self.head(self.pooled(self.tokenizer(volume)))

    def pictures(self, pictures: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Logits of pictures, by the tubes of one slice and the last layer of their own.

        Raises:
            ConfigError: if it was built without.
        """
        if self.picture_head is None:
            raise ConfigError("this network was built for volumes alone; set picture_classes")
        return self.picture_head(self.pooled(self.tokenizer.of_pictures(pictures)))

    def pooled(self, tubes: Tubes) -> Float[Tensor, "batch width"]:
        """One vector for each volume or picture."""
        body: Any = self.encoder
        values = self.features(tubes)
        if self.pool == "network":
            return body.forward_head(values, pre_logits=True)
        question = self.question.expand(len(values), -1, -1)
        return self.attention(question, values, values, need_weights=False)[0][:, 0]

    def features(self, tubes: Tubes) -> Float[Tensor, "batch prefixed width"]:
        """What the transformer makes of tokens; class and register tokens come first."""
        body: Any = self.encoder
        values = tubes.values + sinusoids(tubes.centres, tubes.values.shape[-1]).to(tubes.values)
        prefix = [body.cls_token, getattr(body, "reg_token", None)]
        values = torch.cat([p.expand(len(values), -1, -1) for p in prefix if p is not None] + [values], dim=1)
        values = start = body.norm_pre(body.pos_drop(values))
        for number, block in enumerate(body.blocks, start=1):
            if self.gradient_checkpointing and self.training:
                values = checkpoint(block, values, use_reentrant=False)
            else:
                values = block(values)
            if self.alpha is not None and number == self.gate_after:
                values = values + self.alpha.tanh() * start  # z = MLP(LN(y)) + y + tanh(alpha) z0
        return body.norm(values)

    def train(self, mode: bool = True) -> Self:
        """Training mode for all that learns."""
        super().train(mode)
        for part in self._still:
            part.eval()
        return self

    @property
    def _still(self) -> list[nn.Module]:
        body: Any = self.encoder
        return [self.tokenizer, *body.blocks[: self.gate_after]] if self.gate_after else []
