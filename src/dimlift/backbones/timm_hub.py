"""Networks of timm by the repository that holds them: "hf-hub:OWNER/NAME", optionally with "@REVISION"."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from dimlift.backbones.download import cached_hub_file
from dimlift.errors import WeightsError

HUB_PREFIXES = ("hf-hub:", "hf_hub:")
FILES = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin", "open_clip_pytorch_model.bin")
MAX_BYTES = 2**20
"""Largest config.json that is read."""


class HubNetwork(NamedTuple):
    """A repository of timm.

    Attributes:
        repository: "owner/name".
        revision: branch, tag or commit; None for the newest.
        architecture: timm's name of the network.
        arguments: for timm.create_model.
    """

    repository: str
    revision: str | None
    architecture: str
    arguments: dict[str, Any]

    def weights_file(self, download: bool) -> Path:
        """Return the weights file.

        Raises:
            WeightsError: if it is not on this machine and `download` is False, or cannot be downloaded.
        """
        return cached_hub_file(
            f"timm's hf-hub:{self.repository}", self.repository, FILES, download=download, revision=self.revision
        )


def open_hub_network(name: str, download: bool) -> HubNetwork:
    """Read config.json of a repository, which names the network.

    Args:
        name: "hf-hub:OWNER/NAME" or "hf-hub:OWNER/NAME@REVISION".
        download: download it if it is not in the cache.

    Raises:
        WeightsError: if it is not on this machine and `download` is False, cannot be downloaded, or is not of timm.
    """
    address, _, revision = name.partition(":")[2].partition("@")
    file = cached_hub_file(f"timm's {name}", address, ("config.json",), download=download, revision=revision or None)
    try:
        with file.open("rb") as stream:
            content = json.loads(stream.read(MAX_BYTES))
        architecture = content["architecture"]
        settings = dict(content.get("pretrained_cfg") or content)
        arguments = dict(content.get("model_args") or {})
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise WeightsError(
            f"{file} of {address} names no network of timm ({type(fault).__name__}: {fault}); open a network of "
            f"transformers as transformers:{address}, or give its architecture and weights= (--weights)"
        ) from fault
    settings |= {key: content[key] for key in ("num_classes",) if content.get(key) is not None}
    settings |= {"hf_hub_id": address, "architecture": architecture}
    # with a source, timm would contact the hub although it is given the tensors
    known = {key: value for key, value in settings.items() if key in _settings_names() - {"source"}}
    if known.get("num_classes") is not None:
        arguments.setdefault("num_classes", known["num_classes"])
    return HubNetwork(address, revision or None, str(architecture), {**arguments, "pretrained_cfg": known})


def _settings_names() -> set[str]:
    from dataclasses import fields

    from timm.models import PretrainedCfg

    return {field.name for field in fields(PretrainedCfg)}
