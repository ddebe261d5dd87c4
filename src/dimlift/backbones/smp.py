"""Whole 2D segmentation networks of segmentation_models_pytorch. The only file that imports it."""

import warnings
from typing import Any

from torch import nn

from dimlift.backbones.checkpoint_file import digest, read_tensors
from dimlift.backbones.download import hub_file
from dimlift.backbones.info import SourceInfo
from dimlift.backbones.licences import terms_of
from dimlift.backbones.load_report import Reading
from dimlift.backbones.torchvision_ops import ensure_torchvision_imports
from dimlift.errors import PlanError, UnknownName, WeightsError


def open_smp(
    name: str,
    *,
    pretrained: bool = False,
    download: bool = False,
    features_only: bool = False,
    image_size: int | tuple[int, int] | None = None,
    **options: Any,
) -> tuple[nn.Module, SourceInfo]:
    """Build a segmentation network: encoder, decoder and head.

    Args:
        name: "Unet/resnet18": architecture and encoder; encoders of timm begin with "tu-".
        pretrained: ImageNet weights for the encoder; decoder and head are random.
        download: fetch them if they are not on this machine.
        features_only: refused; its encoder alone is a network of timm.
        image_size: any multiple of the encoder's stride; nothing to build for.
        options: passed on (classes=, decoder_channels=, ...).

    Raises:
        UnknownName: if there is no such architecture or encoder.
        PlanError: if maps are asked for.
        WeightsError: if the weights are not on this machine and must not be fetched.
    """
    smp = _library()
    architecture, _, encoder = name.partition("/")
    encoder = encoder or "resnet34"
    if architecture.lower() not in smp.MODEL_ARCHITECTURES_MAPPING:
        raise UnknownName("architecture of smp", architecture, [cls.__name__ for cls in smp._MODEL_ARCHITECTURES])
    known = smp.encoders.get_encoder_names()
    if encoder not in known and not encoder.startswith("tu-"):
        raise UnknownName("encoder of smp", encoder, known)
    if features_only:
        raise PlanError(f"smp:{name} answers with one map of logits; for maps lift its encoder, timm:{encoder}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        network = smp.create_model(architecture, encoder, encoder_weights=None, **options)
    info = SourceInfo(name=f"smp:{name}", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    if not pretrained:
        return network, info
    choices = {} if encoder.startswith("tu-") else smp.encoders.encoders[encoder]["pretrained_settings"]
    if "imagenet" not in choices:
        raise WeightsError(f"smp has no ImageNet weights for {encoder} that it could fetch; give a file with weights=")
    place, revision = choices["imagenet"]["repo_id"], choices["imagenet"]["revision"]
    path = hub_file(f"smp's {encoder}", place, ("model.safetensors",), download=download, revision=revision)
    tensors = read_tensors(path)
    wanted = network.encoder.state_dict()
    missing = [key for key in wanted if key not in tensors or tensors[key].shape != wanted[key].shape]
    if missing:
        raise WeightsError(f"{place} does not fit smp's {encoder}; missing: {', '.join(missing[:5])}; open it as it is")
    network.encoder.load_state_dict({key: tensors[key] for key in wanted})
    return network, SourceInfo(
        info.name,
        terms_of(place).licence,
        info.mean,
        info.std,
        weights=f"{place} (encoder)",
        sha256=digest(path),
        reading=Reading(len(wanted), len(network.state_dict())),
    )


def _library() -> Any:
    ensure_torchvision_imports()
    try:
        import segmentation_models_pytorch as smp
    except ModuleNotFoundError as fault:
        raise PlanError("networks of smp need segmentation_models_pytorch; pip install 'dimlift[smp]'") from fault
    return smp
