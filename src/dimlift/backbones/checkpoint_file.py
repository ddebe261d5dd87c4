"""Named tensors from a local file, and which file it was."""

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from dimlift.errors import WeightsError

WRAPPERS = ("state_dict", "network_weights", "model", "teacher", "student", "net", "model_ema", "state_dict_ema")
"""Entries under which training checkpoints keep the weights."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or .pt/.pth file. Pickled code is never run (weights_only).

    Raises:
        WeightsError: if the file is not there, cannot be read, or holds no named tensors.
    """
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}; give the path of a .safetensors, .pt or .pth file")
    content: Any
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        _require_plain_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as fault:  # each reader fails in ways of its own
        # what torch says of a pickle advises to run it
        foreign = type(fault).__name__ == "UnpicklingError"
        why = "it holds Python objects other than tensors, and foreign code is never run" if foreign else fault
        raise WeightsError(f"{path} cannot be read as weights: {why}; save it as safetensors") from fault
    for name in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    tensors = (
        {key: value for key, value in content.items() if isinstance(value, Tensor)} if isinstance(content, dict) else {}
    )
    if not tensors:
        raise WeightsError(f"{path} holds no named tensors; wanted the state_dict of a network")
    return tensors


def _require_plain_archive(path: Path) -> None:
    """torch.save packs nothing, so a checkpoint that unpacks to more than its own size was made to fill the memory."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > path.stat().st_size:
        raise WeightsError(f"it has {path.stat().st_size:,} bytes and would unpack to {size:,}, as no checkpoint does")


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
