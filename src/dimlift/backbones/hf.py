"""Networks of Hugging Face transformers, from a folder or the hub. The only file that imports it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dimlift.backbones.checkpoint_file import digest
from dimlift.backbones.download import gated_message, hub_file, not_here
from dimlift.backbones.hf_adapter import as_images_to_tensors
from dimlift.backbones.info import SourceInfo
from dimlift.backbones.key_mapping import naming_of, original_name, split
from dimlift.backbones.licences import terms_of
from dimlift.backbones.load_checkpoint import Adapt
from dimlift.backbones.load_report import Reading, in_groups
from dimlift.backbones.torchvision_ops import ensure_torchvision_imports
from dimlift.errors import PlanError, UnknownName, WeightsError

TOWERS = {"clip": "CLIPVisionModel", "siglip": "SiglipVisionModel", "vit_mae": "ViTModel"}
"""By model type, the class that answers to an image, where the library's own choice wants text or masks."""


def open_transformers(
    name: str,
    *,
    pretrained: bool = True,
    download: bool = False,
    features_only: bool = False,
    image_size: int | tuple[int, int] | None = None,
    out_indices: Sequence[int] | None = None,
    **options: Any,
) -> tuple[nn.Module, SourceInfo]:
    """Build a network from a folder with a config.json (and weights), or from a repository of the hub.

    Args:
        name: the folder, or "owner/name".
        pretrained: read the weights that lie there; False draws random ones.
        download: fetch what is not on this machine.
        features_only: a list of maps; else what the architecture named in config.json answers with.
        image_size: nothing is bound to its size here; position tables are interpolated to the image at hand.
        out_indices: which of the maps; the last at each resolution, or the last three, if not given.
        options: entries of the configuration to change.

    Raises:
        UnknownName: if config.json names no architecture that reads images.
        WeightsError: if it is not here and must not be fetched, or a weight did not arrive.
    """
    transformers = _library()
    settings = _settings(transformers, name, download, options)
    cls = _class_for(transformers, settings, features_only)
    settings = getattr(settings, "vision_config", settings)
    if not isinstance(settings, cls.config_class):  # MAE's encoder is a plain ViT, when nothing is masked
        settings = cls.config_class.from_dict(settings.to_dict())
    info = SourceInfo(name=f"transformers:{name}")
    if pretrained:
        network, reading = _read(cls, name, settings, download)
        terms = terms_of(name)
        file = _file(name)
        sha256 = None if file is None else digest(file)
        info = SourceInfo(
            info.name, licence=terms.licence, weights=name, sha256=sha256, gated=terms.gated, reading=reading
        )
    else:
        network = cls._from_config(settings) if hasattr(cls, "_from_config") else cls(settings)
    return as_images_to_tensors(network, features_only, out_indices), info


def adapt_to(network: nn.Module) -> Adapt:
    """Original names into the network's own; Hugging Face's file names are put into original ones before."""
    wanted = list(network.state_dict())
    naming = naming_of(wanted)

    def adapted(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        if naming is None:
            return tensors
        apart = split(tensors)
        renamed = {key: original_name(key, naming) for key in wanted}
        return {key: apart[name] for key, name in renamed.items() if name in apart}

    return adapted


def _library() -> Any:
    ensure_torchvision_imports()
    try:
        import transformers
    except ModuleNotFoundError as fault:
        raise PlanError("networks of transformers need that package; pip install 'dimlift[transformers]'") from fault
    transformers.utils.logging.disable_progress_bar()
    return transformers


def _settings(transformers: Any, name: str, download: bool, options: dict[str, Any]) -> Any:
    folder = Path(name)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise WeightsError(f"{folder} holds no config.json; give a folder that save_pretrained wrote")
    try:
        return transformers.AutoConfig.from_pretrained(name, local_files_only=not download, **options)
    except (OSError, ValueError) as fault:
        raise _refusal(name, download, fault) from fault


def _class_for(transformers: Any, settings: Any, features_only: bool) -> Any:
    named = next(iter(getattr(settings, "architectures", None) or ()), "")
    cls = getattr(transformers, named, None)
    tower = TOWERS.get(settings.model_type)
    head = any(word in named for word in ("ImageClassification", "SemanticSegmentation", "UniversalSegmentation"))
    if cls is not None and head and not features_only:
        return cls
    if tower is not None:
        return getattr(transformers, tower)
    try:
        return transformers.MODEL_MAPPING[type(settings)]
    except KeyError:
        raise UnknownName("architecture of transformers", settings.model_type, ["vit", "swin", "dinov2"]) from None


def _read(cls: Any, name: str, settings: Any, download: bool) -> tuple[Any, Reading]:
    """The network with its weights, and what became of the tensors in the folder."""
    logging = _library().utils.logging
    loudness = logging.get_verbosity()
    logging.set_verbosity_error()  # it prints a table of what did not fit; that is told below
    try:
        network, told = cls.from_pretrained(
            name, config=settings, local_files_only=not download, output_loading_info=True, dtype=torch.float32
        )
    except (OSError, ValueError) as fault:
        raise _refusal(name, download, fault) from fault
    finally:
        logging.set_verbosity(loudness)
    missing = sorted(key for key in told["missing_keys"] if "pooler" not in key.split("."))
    other = sorted(str(key) for key in told.get("mismatched_keys", ()))
    if missing or other:
        raise WeightsError(
            f"the weights in {name} do not fill {cls.__name__}; missing: {', '.join(missing[:5]) or 'none'}; of "
            f"another shape: {', '.join(other[:5]) or 'none'}; lift it with features_only=True, or give the right "
            "config.json"
        )
    tensors = len(network.state_dict())
    return network, Reading(tensors - len(told["missing_keys"]), tensors, dropped=in_groups(told["unexpected_keys"]))


def _file(name: str) -> Path | None:
    """Where the weights lie that were read; None where they lie in several files."""
    if Path(name).is_dir():
        path = Path(name) / "model.safetensors"
        return path if path.is_file() else None
    try:
        return hub_file(f"transformers:{name}", name, ("model.safetensors", "pytorch_model.bin"), download=False)
    except WeightsError:
        return None


def _refusal(name: str, download: bool, fault: Exception) -> WeightsError:
    if "gated" in str(fault).lower():
        return WeightsError(gated_message(f"transformers:{name}", name))
    if not download and not Path(name).is_dir():
        return WeightsError(not_here(f"transformers:{name}", name))
    return WeightsError(
        f"transformers cannot open {name}: {str(fault).splitlines()[0]}; give a folder with config.json and "
        "model.safetensors, or the name of a repository"
    )
