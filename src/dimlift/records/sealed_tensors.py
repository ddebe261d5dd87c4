"""Tensors in a safetensors file with a SHA-256 over all of it: a changed bit, or another entry's file, is detected."""

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dimlift.errors import CorruptFileError
from dimlift.records.atomic_write import atomic_write

if TYPE_CHECKING:
    from torch import Tensor

SEAL = "sha256"
"""Name of the digest in the file's metadata."""


def write_sealed(path: Path, tensors: "Mapping[str, Tensor]", facts: Mapping[str, str]) -> None:
    """Write tensors atomically.

    Args:
        path: its stem (the key of the entry) is part of the digest.
        tensors: by name.
        facts: texts to store beside them.
    """
    from safetensors.torch import save_file

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_write(path) as scratch:
        save_file(plain, scratch, metadata={**facts, SEAL: _digest(path.stem, plain, facts)})


def read_sealed(path: Path) -> "tuple[dict[str, Tensor], dict[str, str]]":
    """Read tensors (on the CPU) and texts.

    Raises:
        CorruptFileError: if anything has changed since they were written, or the file is of another entry.
        FileNotFoundError: if there is no such file.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(path)
    try:
        with safe_open(path, framework="pt") as stored:
            facts = dict(stored.metadata() or {})
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as fault:
        raise CorruptFileError(f"{path} is damaged ({fault}); delete it, it will be computed again") from fault
    if facts.pop(SEAL, None) != _digest(path.stem, tensors, facts):
        raise CorruptFileError(f"{path} has changed since it was written; delete it, it will be computed again")
    return tensors, facts


def read_or_warn(path: Path) -> "tuple[dict[str, Tensor], dict[str, str]] | None":
    """Read an entry of a cache; None if it has to be computed: it is missing, or damaged, which is warned of."""
    try:
        return read_sealed(path)
    except FileNotFoundError:
        return None
    except CorruptFileError as fault:
        warnings.warn(f"{str(fault).partition('; ')[0]}; it is computed again", stacklevel=3)
        return None


def _digest(key: str, tensors: "Mapping[str, Tensor]", facts: Mapping[str, str]) -> str:
    import torch

    names = sorted(tensors)
    shapes = [(name, str(tensors[name].dtype), list(tensors[name].shape)) for name in names]
    digest = hashlib.sha256(json.dumps([key, shapes, dict(facts)], sort_keys=True).encode())
    for name in names:
        if tensors[name].numel():
            digest.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
