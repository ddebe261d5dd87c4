"""Pooling of slice vectors into one vector per volume, with the weight of each slice.

- Gated attention pooling: Ilse, Tomczak and Welling, 2018, https://arxiv.org/abs/1802.04712
- Transformer layer over slices: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762

No pooling depends on the order of slices: permuting slices permutes the weights and leaves the vector unchanged.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

Pooled = tuple[Float[Tensor, "batch width"], Float[Tensor, "batch slices"]]


class SliceMean(nn.Module):
    """Mean over slices: the control for the other poolings."""

    def forward(self, vectors: Float[Tensor, "batch slices width"]) -> Pooled:
        """Return the mean, and equal weights."""
        batch, slices, _ = vectors.shape
        return vectors.mean(dim=1), vectors.new_full((batch, slices), 1 / slices)


class SliceAttention(nn.Module):
    """Gated attention with weights w = softmax_k v(tanh(V h_k) * sigmoid(U h_k)), which sum to one.

    Args:
        width: length of a slice vector.
        hidden: length inside the attention.
    """

    def __init__(self, width: int, hidden: int = 128) -> None:
        super().__init__()
        self.content, self.gate = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.score = nn.Linear(hidden, 1)
        nn.init.zeros_(self.score.weight)  # starts as the mean
        nn.init.zeros_(self.score.bias)

    def forward(self, vectors: Float[Tensor, "batch slices width"]) -> Pooled:
        """Return the weighted mean, and the weights."""
        gated = torch.tanh(self.content(vectors)) * torch.sigmoid(self.gate(vectors))
        weights = self.score(gated)[..., 0].softmax(dim=1)
        return torch.einsum("bs,bsw->bw", weights, vectors), weights


class SliceTransformer(nn.Module):
    """Small transformer over slices, followed by `SliceAttention`.

    Args:
        width: length of a slice vector, a multiple of `heads`.
        layers: number of transformer layers.
        heads: attention heads per layer.
        dropout: dropout rate of the transformer.
    """

    def __init__(self, width: int, layers: int = 1, heads: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.attention = SliceAttention(width)

    def forward(self, vectors: Float[Tensor, "batch slices width"]) -> Pooled:
        """Return the weighted mean of the transformed slices, and the weights."""
        return self.attention(self.layers(vectors))
