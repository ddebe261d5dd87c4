"""Segmentation networks of segmentation_models_pytorch. The only file that imports it."""

import warnings
from typing import Any

from torch import nn

from dimlift.backbones.checkpoint_file import read_tensors
from dimlift.backbones.download import cached_hub_file
from dimlift.backbones.info import IMAGENET_MEAN, IMAGENET_STD, BackboneInfo
from dimlift.backbones.licences import licence_of
from dimlift.backbones.load_report import LoadReport
from dimlift.backbones.torchvision_ops import ensure_torchvision_imports
from dimlift.errors import PlanError, UnknownNameError, WeightsError
from dimlift.file_digest import file_sha256


def create_smp(
    name: str,
    *,
    pretrained: bool = False,
    download: bool = False,
    features_only: bool = False,
    image_size: int | tuple[int, int] | None = None,
    **options: Any,
) -> tuple[nn.Module, BackboneInfo]:
    """Create a segmentation network: encoder, decoder and head.

    Args:
        name: architecture and encoder, "Unet/resnet18"; encoders of timm begin with "tu-".
        pretrained: ImageNet weights for the encoder; decoder and head are initialised randomly.
        download: download them if they are not on this machine.
        features_only: refused; the encoder alone is a network of timm.
        image_size: without effect; any multiple of the encoder's stride is accepted.
        options: passed to smp (classes=, decoder_channels=, ...).

    Raises:
        UnknownNameError: if there is no such architecture or encoder.
        PlanError: if maps are requested.
        WeightsError: if the weights are not on this machine and `download` is False.
    """
    smp = _import_smp()
    architecture, _, encoder = name.partition("/")
    encoder = encoder or "resnet34"
    if architecture.lower() not in smp.MODEL_ARCHITECTURES_MAPPING:
        raise UnknownNameError("architecture of smp", architecture, [cls.__name__ for cls in smp._MODEL_ARCHITECTURES])
    known = smp.encoders.get_encoder_names()
    if encoder not in known and not encoder.startswith("tu-"):
        raise UnknownNameError("encoder of smp", encoder, known)
    if features_only:
        raise PlanError(f"smp:{name} returns one map of logits; for maps lift its encoder, timm:{encoder}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        network = smp.create_model(architecture, encoder, encoder_weights=None, **options)
    info = BackboneInfo(name=f"smp:{name}", mean=IMAGENET_MEAN, std=IMAGENET_STD)
    if not pretrained:
        return network, info
    settings = {} if encoder.startswith("tu-") else smp.encoders.encoders[encoder]["pretrained_settings"]
    if "imagenet" not in settings:
        raise WeightsError(f"smp has no ImageNet weights to download for {encoder}; give a file with weights=")
    repository, revision = settings["imagenet"]["repo_id"], settings["imagenet"]["revision"]
    path = cached_hub_file(f"smp's {encoder}", repository, ("model.safetensors",), download=download, revision=revision)
    tensors = read_tensors(path)
    wanted = network.encoder.state_dict()
    missing = [key for key in wanted if key not in tensors or tensors[key].shape != wanted[key].shape]
    if missing:
        raise WeightsError(
            f"{repository} does not fit smp's {encoder}; missing: {', '.join(missing[:5])}; create it without further "
            "options"
        )
    network.encoder.load_state_dict({key: tensors[key] for key in wanted})
    return network, BackboneInfo(
        info.name,
        licence_of(repository).licence,
        info.mean,
        info.std,
        weights=f"{repository} (encoder)",
        sha256=file_sha256(path),
        load_report=LoadReport(len(wanted), len(network.state_dict())),
    )


def _import_smp() -> Any:
    ensure_torchvision_imports()
    try:
        import segmentation_models_pytorch as smp
    except ModuleNotFoundError as fault:
        raise PlanError("networks of smp need segmentation_models_pytorch; pip install 'dimlift[smp]'") from fault
    return smp
