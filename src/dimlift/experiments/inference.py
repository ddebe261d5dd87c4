"""A trained network over a whole volume: windows with Gaussian blending, features sampled for each window."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.methods.borrowed.sampling import sample_features, window_grid

WINDOWS_AT_ONCE = 2


@torch.inference_mode()
def segment(
    method: nn.Module,
    image: Float[Tensor, "channels depth height width"],
    *,
    window: tuple[int, int, int],
    overlap: float = 0.5,
    features: Sequence[Float[Tensor, "components d h w"]] | None = None,
    feature_stride: int = 1,
    bfloat16: bool = False,
) -> Float[Tensor, "classes depth height width"]:
    """Class scores of every voxel.

    A volume smaller than the window is padded to it, as training patches are: the image with its minimum.

    Args:
        method: `forward(image, features)` gives logits at the resolution of its input.
        features: coarse maps, each covering the whole volume; every window is given them on its own voxels,
            or on blocks of `feature_stride` voxels along each axis.
    """
    from monai.inferers.utils import sliding_window_inference

    method.eval()
    device = next(method.parameters()).device
    size = image.shape[1:]
    margins = [max(0, wanted - found) for wanted, found in zip(window, size, strict=True)]
    padding = [side for margin in reversed(margins) for side in (margin // 2, margin - margin // 2)]
    padded = F.pad(image, padding, value=float(image.min()))[None]
    channels = image.shape[0]
    if features is not None:
        places = window_grid(size, [-(m // 2) for m in margins], [n + m for n, m in zip(size, margins, strict=True)])
        padded = torch.cat([padded, places.movedim(-1, 0)[None]], dim=1)
        features = [coarse.to(device, torch.float32) for coarse in features]

    def on_window(patch: Tensor) -> Tensor:
        patch = patch.to(memory_format=torch.channels_last_3d)
        with _precision(device, bfloat16):
            if features is None:
                return method(patch)
            grids = F.avg_pool3d(patch[:, channels:], feature_stride).movedim(1, -1)
            sampled = torch.stack([sample_features(features, grid) for grid in grids])
            return method(patch[:, :channels], sampled)

    logits = sliding_window_inference(
        padded,
        roi_size=window,
        sw_batch_size=WINDOWS_AT_ONCE,
        predictor=on_window,
        overlap=overlap,
        mode="gaussian",
        sw_device=device,
        device=torch.device("cpu"),
    )
    if not isinstance(logits, Tensor):
        raise TypeError(f"{type(method).__name__} gives {type(logits).__name__}, one tensor of logits is wanted")
    inner = [slice(m // 2, m // 2 + n) for m, n in zip(margins, size, strict=True)]
    return logits[0].float()[(slice(None), *inner)]


@torch.inference_mode()
def classify(
    method: nn.Module,
    image: Float[Tensor, "channels depth height width"],
    *,
    smallest: tuple[int, int, int],
    bfloat16: bool = False,
) -> Float[Tensor, " classes"]:
    """Logits of a whole volume, padded with its minimum where it is smaller than a training patch."""
    method.eval()
    device = next(method.parameters()).device
    margins = [max(0, wanted - found) for wanted, found in zip(smallest, image.shape[1:], strict=True)]
    padding = [side for margin in reversed(margins) for side in (margin // 2, margin - margin // 2)]
    padded = F.pad(image, padding, value=float(image.min()))[None].to(device)
    with _precision(device, bfloat16):
        return method(padded)[0].float().cpu()


def _precision(device: torch.device, bfloat16: bool) -> AbstractContextManager[object]:
    return torch.autocast(device.type, torch.bfloat16) if bfloat16 else nullcontext()
