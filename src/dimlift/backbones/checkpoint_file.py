"""Tensors of a local weights file."""

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from dimlift.errors import WeightsError

WRAPPERS = ("state_dict", "network_weights", "model", "teacher", "student", "net", "model_ema", "state_dict_ema")
"""Entries under which training checkpoints store the weights."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a .safetensors or .pt/.pth file. Pickled code is never executed (weights_only).

    Raises:
        WeightsError: if the file does not exist, cannot be read, or contains no named tensors.
    """
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}; give the path of a .safetensors, .pt or .pth file")
    content: Any
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        _check_archive_size(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as fault:  # the readers raise exceptions of many types
        # torch's message on a pickle recommends executing it
        unsafe = type(fault).__name__ == "UnpicklingError"
        reason = (
            "it contains Python objects other than tensors, and pickled code is never executed" if unsafe else fault
        )
        raise WeightsError(f"{path} cannot be read as weights: {reason}; save it as safetensors") from fault
    for name in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    tensors = (
        {key: value for key, value in content.items() if isinstance(value, Tensor)} if isinstance(content, dict) else {}
    )
    if not tensors:
        raise WeightsError(f"{path} contains no named tensors; expected the state_dict of a network")
    return tensors


def _check_archive_size(path: Path) -> None:
    """Refuse an archive that unpacks to more than its size: torch.save does not compress, so it is malicious."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > path.stat().st_size:
        raise WeightsError(f"it has {path.stat().st_size:,} bytes and would unpack to {size:,}, unlike any checkpoint")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
