"""From the vectors of a volume's slices to one vector, and how much each slice had to say.

- Gated attention over the members of a bag: Ilse, Tomczak and Welling, 2018, https://arxiv.org/abs/1802.04712
- A transformer over slices before it: the usual layer of Vaswani et al., 2017, https://arxiv.org/abs/1706.03762

None of them knows which slice lies where: permuting slices permutes the weights and leaves the answer as it is.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

Pooled = tuple[Float[Tensor, "batch width"], Float[Tensor, "batch slices"]]


class SliceMean(nn.Module):
    """Every slice counts alike: the control for the two others."""

    def forward(self, vectors: Float[Tensor, "batch slices width"]) -> Pooled:
        """The mean, and one weight for all."""
        batch, slices, _ = vectors.shape
        return vectors.mean(dim=1), vectors.new_full((batch, slices), 1 / slices)


class SliceAttention(nn.Module):
    """Weights from what each slice shows, w = softmax_k v(tanh(V h_k) * sigmoid(U h_k)); they sum to one.

    Args:
        width: length of a slice's vector.
        hidden: length inside the attention.
    """

    def __init__(self, width: int, hidden: int = 128) -> None:
        super().__init__()
        self.content, self.gate = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.score = nn.Linear(hidden, 1)
        nn.init.zeros_(self.score.weight)  # begins as the mean
        nn.init.zeros_(self.score.bias)

    def forward(self, vectors: Float[Tensor, "batch slices width"]) -> Pooled:
        """The weighted mean, and the weights."""
        inside = torch.tanh(self.content(vectors)) * torch.sigmoid(self.gate(vectors))
        weights = self.score(inside)[..., 0].softmax(dim=1)
        return torch.einsum("bs,bsw->bw", weights, vectors), weights


class SliceTransformer(nn.Module):
    """Slices read each other in a small transformer, then `SliceAttention` weighs what they have become.

    Args:
        width: length of a slice's vector; a multiple of `heads`.
        layers: of the transformer.
        heads: of each layer.
    """

    def __init__(self, width: int, layers: int = 1, heads: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.attention = SliceAttention(width)

    def forward(self, vectors: Float[Tensor, "batch slices width"]) -> Pooled:
        """The weighted mean of the slices after the transformer, and the weights."""
        return self.attention(self.layers(vectors))
