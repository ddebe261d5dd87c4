"""Refuse outputs that are not finite: their argmax would be background everywhere, without any error."""

import torch
from torch import Tensor

from dimlift.errors import RunError


def require_finite(logits: Tensor, case: str, part: str = "") -> None:
    """Check that every logit of a window, tile or case is a finite number.

    Args:
        logits: of any shape.
        case: name of the case, for the message.
        part: the window or tile, for the message.

    Raises:
        RunError: naming case and part.
    """
    finite = torch.isfinite(logits)
    if not finite.all():
        count = int((~finite).sum())
        where = f"{case or 'the input'}{f', {part}' if part else ''}"
        raise RunError(
            f"{where}: {count} of {logits.numel()} outputs of the network are NaN or infinite; its weights or the "
            "input are corrupt, or training diverged; copy the weights folder again, check the intensities of the "
            "case, or predict in float32 if the run was trained with precision=bf16"
        )
