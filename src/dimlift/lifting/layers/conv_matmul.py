"""Linear layer for few rows: in float32 on a CPU through oneDNN, which torch uses for lower precisions only.

For the 4 to 32 rows of a small map it takes at most half the time of F.linear, forward and backward.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Rows = Float[Tensor, "*n i"]
Matrix = Float[Tensor, "o i"]

ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def fast_linear(rows: Rows, matrix: Matrix) -> Float[Tensor, "*n o"]:
    """Multiply every row by the matrix, like F.linear, by the fastest known algorithm."""
    plain = not torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()
    if ONEDNN and plain and rows.device.type == "cpu" and rows.dtype == matrix.dtype == torch.float32:
        out: Tensor = _OneDnnLinear.apply(rows.flatten(0, -2), matrix)
        return out.unflatten(0, rows.shape[:-1])
    return F.linear(rows, matrix)


class _OneDnnLinear(torch.autograd.Function):
    """Adds the gradient that oneDNN's operator lacks: two more products."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, matrix: Tensor) -> Tensor:
        ctx.save_for_backward(rows, matrix)
        out: Tensor = torch.ops.mkldnn._linear_pointwise(rows, matrix, None, "none", [], "")
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        rows, matrix = ctx.saved_tensors
        grad_rows = fast_linear(grad, matrix.T) if ctx.needs_input_grad[0] else None
        grad_matrix = fast_linear(grad.T, rows.T) if ctx.needs_input_grad[1] else None
        return grad_rows, grad_matrix
