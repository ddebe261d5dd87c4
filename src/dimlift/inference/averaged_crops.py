"""Classification and regression of whole volumes: the mean over crops of the size that the network was trained on."""

from collections.abc import Iterator
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

from dimlift.data.case import TaskType
from dimlift.inference.coverage import Coverage
from dimlift.inference.finite_outputs import require_finite
from dimlift.inference.sliding_window import pad_volume
from dimlift.methods.method import Method

Box = tuple[slice, slice, slice]


def covering_crops(shape: tuple[int, ...], size: tuple[int, int, int]) -> Iterator[Box]:
    """Yield the fewest crops that cover a volume, evenly spaced, the last ending where the volume does.

    Args:
        shape: (depth, height, width) of the volume; along an axis shorter than a crop there is one, of its length.
        size: (depth, height, width) of a crop.
    """
    axes = []
    for full, length in zip(shape, size, strict=True):
        count = max(1, -(-full // length))
        starts = [round(number * (full - length) / (count - 1)) if count > 1 else 0 for number in range(count)]
        axes.append([slice(start, min(full, start + length)) for start in starts])
    yield from product(axes[0], axes[1], axes[2])


@torch.inference_mode()
def classify_volume(
    method: Method,
    image: Float[Tensor, "channels depth height width"],
    *,
    crop: tuple[int, int, int],
    kind: TaskType = "classification",
    bfloat16: bool = False,
    case: str = "",
    coverage: Coverage | None = None,
) -> Float[Tensor, " classes"]:
    """Return the logits of a volume, or its number: the mean over the crops that cover it.

    A network receives inputs of the size of its training patches only: other numbers of tokens, and positions that it
    has not seen, change what it computes. A smaller volume is padded with its minimum, as in training.

    Args:
        crop: (depth, height, width) of a training patch.
        kind: of a classification, probabilities are averaged, and their logarithms returned; of a regression, numbers.
        case: name of the case, for messages.
        coverage: counts crops and voxels.

    Raises:
        RunError: if a logit is NaN or infinite.
    """
    method.eval()
    device = next(method.parameters()).device
    margins = [max(0, most - found) for most, found in zip(crop, image.shape[1:], strict=True)]
    padded, outputs = pad_volume(image, margins), []
    for box in covering_crops(tuple(padded.shape[1:]), crop):
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            outputs.append(method(padded[(slice(None), *box)][None].to(device))[0].float().cpu())
        require_finite(outputs[-1], case)
    if coverage is not None:
        coverage.windows, coverage.predicted, coverage.total = len(outputs), image[0].numel(), image[0].numel()
    if len(outputs) == 1:
        return outputs[0]
    stacked = torch.stack(outputs)
    return stacked.mean(0) if kind == "regression" else stacked.log_softmax(-1).exp().mean(0).log()
