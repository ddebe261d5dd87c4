"""Networks of Hugging Face transformers, from a folder or the hub. The only file that imports it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dimlift.backbones.download import cached_hub_file, gated_message, missing_weights_message
from dimlift.backbones.hf_adapter import adapt_hf_model
from dimlift.backbones.info import BackboneInfo
from dimlift.backbones.key_mapping import detect_naming, split_qkv, to_original_key
from dimlift.backbones.licences import licence_of
from dimlift.backbones.load_checkpoint import KeyFilter
from dimlift.backbones.load_report import LoadReport, group_keys
from dimlift.backbones.torchvision_ops import ensure_torchvision_imports
from dimlift.errors import PlanError, UnknownNameError, WeightsError
from dimlift.file_digest import file_sha256

TOWERS = {"clip": "CLIPVisionModel", "siglip": "SiglipVisionModel", "vit_mae": "ViTModel"}
"""By model type, the class that takes images alone, where the library's default also takes text or masks."""


def create_hf(
    name: str,
    *,
    pretrained: bool = True,
    download: bool = False,
    features_only: bool = False,
    image_size: int | tuple[int, int] | None = None,
    out_indices: Sequence[int] | None = None,
    **options: Any,
) -> tuple[nn.Module, BackboneInfo]:
    """Create a network from a folder with a config.json (and weights), or from a repository of the hub.

    Args:
        name: the folder, or "owner/name".
        pretrained: load the weights of the folder or repository; False initialises randomly.
        download: download what is not on this machine.
        features_only: return a list of maps; otherwise the output of the architecture named in config.json.
        image_size: without effect; position tables are interpolated to the size of each image.
        out_indices: which of the maps; by default the last at each resolution, or the last three if there is only one.
        options: entries of the configuration to change.

    Raises:
        UnknownNameError: if config.json names no architecture that takes images.
        WeightsError: if it is not on this machine and `download` is False, or a weight is missing.
    """
    transformers = _import_transformers()
    config = _load_config(transformers, name, download, options)
    cls = _model_class(transformers, config, features_only)
    config = getattr(config, "vision_config", config)
    if not isinstance(config, cls.config_class):  # MAE's encoder is a plain ViT if nothing is masked
        config = cls.config_class.from_dict(config.to_dict())
    info = BackboneInfo(name=f"transformers:{name}")
    if pretrained:
        network, report = _load_pretrained(cls, name, config, download)
        terms = licence_of(name)
        file = _weights_file(name)
        sha256 = None if file is None else file_sha256(file)
        info = BackboneInfo(
            info.name, licence=terms.licence, weights=name, sha256=sha256, gated=terms.gated, load_report=report
        )
    else:
        network = cls._from_config(config) if hasattr(cls, "_from_config") else cls(config)
    return adapt_hf_model(network, features_only, out_indices), info


def hf_key_filter(network: nn.Module) -> KeyFilter:
    """Return a filter from original names to those of a live transformers network."""
    wanted = list(network.state_dict())
    naming = detect_naming(wanted)

    def filtered(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        if naming is None:
            return tensors
        parts = split_qkv(tensors)
        renamed = {key: to_original_key(key, naming) for key in wanted}
        return {key: parts[name] for key, name in renamed.items() if name in parts}

    return filtered


def _import_transformers() -> Any:
    ensure_torchvision_imports()
    try:
        import transformers
    except ModuleNotFoundError as fault:
        raise PlanError("networks of transformers need that package; pip install 'dimlift[transformers]'") from fault
    transformers.utils.logging.disable_progress_bar()
    return transformers


def _load_config(transformers: Any, name: str, download: bool, options: dict[str, Any]) -> Any:
    folder = Path(name)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise WeightsError(f"{folder} contains no config.json; give a folder written by save_pretrained")
    try:
        return transformers.AutoConfig.from_pretrained(name, local_files_only=not download, **options)
    except (OSError, ValueError) as fault:
        raise _weights_error(name, download, fault) from fault


def _model_class(transformers: Any, config: Any, features_only: bool) -> Any:
    stated = next(iter(getattr(config, "architectures", None) or ()), "")
    cls = getattr(transformers, stated, None)
    tower = TOWERS.get(config.model_type)
    has_head = any(word in stated for word in ("ImageClassification", "SemanticSegmentation", "UniversalSegmentation"))
    if cls is not None and has_head and not features_only:
        return cls
    if tower is not None:
        return getattr(transformers, tower)
    try:
        return transformers.MODEL_MAPPING[type(config)]
    except KeyError:
        raise UnknownNameError("architecture of transformers", config.model_type, ["vit", "swin", "dinov2"]) from None


def _load_pretrained(cls: Any, name: str, config: Any, download: bool) -> tuple[Any, LoadReport]:
    """Return the network with its weights, and what became of the tensors of the folder."""
    logging = _import_transformers().utils.logging
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it logs a table of what did not fit, which is reported below
    try:
        network, loading = cls.from_pretrained(
            name, config=config, local_files_only=not download, output_loading_info=True, dtype=torch.float32
        )
    except (OSError, ValueError) as fault:
        raise _weights_error(name, download, fault) from fault
    finally:
        logging.set_verbosity(verbosity)
    missing = sorted(key for key in loading["missing_keys"] if "pooler" not in key.split("."))
    mismatched = sorted(str(key) for key in loading.get("mismatched_keys", ()))
    if missing or mismatched:
        raise WeightsError(
            f"the weights in {name} do not fill {cls.__name__}; missing: {', '.join(missing[:5]) or 'none'}; of "
            f"another shape: {', '.join(mismatched[:5]) or 'none'}; lift it with features_only=True, or give the right "
            "config.json"
        )
    tensors = len(network.state_dict())
    dropped = group_keys(loading["unexpected_keys"])
    return network, LoadReport(tensors - len(loading["missing_keys"]), tensors, dropped=dropped)


def _weights_file(name: str) -> Path | None:
    """Return the file that the weights were loaded from; None if they are in several files."""
    if Path(name).is_dir():
        path = Path(name) / "model.safetensors"
        return path if path.is_file() else None
    try:
        return cached_hub_file(f"transformers:{name}", name, ("model.safetensors", "pytorch_model.bin"), download=False)
    except WeightsError:
        return None


def _weights_error(name: str, download: bool, fault: Exception) -> WeightsError:
    if "gated" in str(fault).lower():
        return WeightsError(gated_message(f"transformers:{name}", name))
    if not download and not Path(name).is_dir():
        return WeightsError(missing_weights_message(f"transformers:{name}", name))
    return WeightsError(
        f"transformers cannot open {name}: {str(fault).splitlines()[0]}; give a folder with config.json and "
        "model.safetensors, or the name of a repository"
    )
