"""A trained network over a whole volume: windows with Gaussian blending, features sampled for each window."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

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
        padded = torch.cat([padded, _coordinates(size, margins)[None]], dim=1)
        features = [coarse.to(device, torch.float32) for coarse in features]

    def on_window(patch: Tensor) -> Tensor:
        patch = patch.to(memory_format=torch.channels_last_3d)
        with _precision(device, bfloat16):
            if features is None:
                return method(patch)
            places = F.avg_pool3d(patch[:, channels:], feature_stride)
            sampled = torch.cat([sample_features(coarse, places) for coarse in features], dim=1)
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


def sample_features(
    coarse: Float[Tensor, "components d h w"], coordinates: Float[Tensor, "windows 3 depth height width"]
) -> Float[Tensor, "windows components depth height width"]:
    """Coarse features on the voxels of some windows; zero outside the volume.

    Args:
        coordinates: (z, y, x) of every voxel centre, -1 and 1 at the outer faces of the volume.
    """
    grid = coordinates.movedim(1, -1).flip(-1)  # grid_sample wants x first
    maps = coarse[None].expand(len(grid), -1, -1, -1, -1)
    inside = (coordinates.abs() <= 1).all(dim=1, keepdim=True)
    return F.grid_sample(maps, grid, padding_mode="border", align_corners=False) * inside


def _coordinates(size: Sequence[int], margins: Sequence[int]) -> Float[Tensor, "3 depth height width"]:
    """Position of every voxel centre of a padded volume; -1 and 1 are the outer faces of the volume itself."""
    axes = [(2 * (torch.arange(n + margin) - margin // 2) + 1) / n - 1 for n, margin in zip(size, margins, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def _precision(device: torch.device, bfloat16: bool) -> AbstractContextManager[object]:
    return torch.autocast(device.type, torch.bfloat16) if bfloat16 else nullcontext()
