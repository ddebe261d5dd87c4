"""Initialisation of transformers, as the authors of masked autoencoders train them."""

from torch import nn

STD = 0.02
"""Standard deviation of initial weights (BERT, ViT, Point-MAE)."""


def init_transformer_weights(*modules: nn.Module) -> None:
    """Draw the weights of linear layers, 1D convolutions and attention from a truncated normal; set biases to zero.

    Norms keep their scale 1 and shift 0.
    """
    for part in (part for module in modules for part in module.modules()):
        if isinstance(part, nn.Linear | nn.Conv1d):
            nn.init.trunc_normal_(part.weight, std=STD)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.MultiheadAttention):
            nn.init.trunc_normal_(part.in_proj_weight, std=STD)
            nn.init.zeros_(part.in_proj_bias)
