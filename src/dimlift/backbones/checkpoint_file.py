"""Tensors of a local weights file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from dimlift.backbones.checkpoint_entries import select_entry
from dimlift.backbones.file_kind import foreign_kind, is_pickle, is_safetensors, is_zip, read_head
from dimlift.backbones.fold_norms import fold_norms
from dimlift.backbones.torch_checkpoint import Checkpoint, read_torch_legacy, read_torch_zip
from dimlift.errors import WeightsError

MASKS = ("attn_mask", "bias_mask", "causal_mask", "mask")
"""Last parts of names of buffers that hold infinity."""


@dataclass(frozen=True)
class FileState:
    """The state dict of a weights file.

    Attributes:
        tensors: by name.
        entry: place of the state dict in the file; empty if the file is one.
        folded: number of weights whose weight or spectral norm was folded into them.
    """

    tensors: dict[str, Tensor]
    entry: str = ""
    folded: int = 0


def open_checkpoint(path: Path) -> Checkpoint:
    """Read the structure of a weights file. No code of the file is run, and values are read when they are loaded.

    Raises:
        WeightsError: if the file does not exist, is something else, or is damaged.
    """
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}; give the path of a .safetensors, .pt or .pth file")
    head = read_head(path)
    kind = foreign_kind(head)
    if kind is not None:
        raise WeightsError(f"{path} {kind}")
    try:
        if is_zip(head):
            return read_torch_zip(path)
        if is_pickle(head) and not is_safetensors(head):
            return read_torch_legacy(path)
        if path.suffix == ".safetensors" or is_safetensors(head):
            return Checkpoint(load_file(path), _loaded)
    except Exception as fault:  # the readers raise exceptions of many types
        message = str(fault) or type(fault).__name__
        cure = "" if "; " in message else "; copy or download it again"
        raise WeightsError(f"{path} cannot be read as weights: {message}{cure}") from fault
    raise WeightsError(
        f"{path} cannot be read as weights: it is neither a safetensors file nor one of torch.save; save a state_dict "
        "as safetensors"
    )


def read_state(path: Path) -> FileState:
    """Read the state dict of a weights file.

    Raises:
        WeightsError: if the file cannot be read, or contains no named tensors.
    """
    checkpoint = open_checkpoint(path)
    entry, leaves = select_entry(checkpoint.content)
    if not leaves:
        held = f" but Python objects ({', '.join(checkpoint.objects[:3])})" if checkpoint.objects else ""
        never = ", and pickled code is never executed" if held else ""
        raise WeightsError(
            f"{path} cannot be read as weights: it contains no named tensors{held}{never}; save the state_dict of a "
            "network"
        )
    try:
        tensors = {name: checkpoint.load(leaf) for name, leaf in leaves.items()}
    except Exception as fault:  # blocks may be missing, too short, or of another type
        raise WeightsError(f"{path} cannot be read as weights: {fault}; copy or download it again") from fault
    tensors, folded = fold_norms(tensors)
    return FileState(tensors, entry, folded)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of the state dict of a weights file.

    Raises:
        WeightsError: if the file cannot be read, contains no named tensors, or weights that are not finite.
    """
    tensors = read_state(path).tensors
    require_finite_weights(tensors, path)
    return tensors


def require_finite_weights(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Check that weights are finite; masks may hold infinity.

    Args:
        tensors: by name.
        path: of their file, for the message.

    Raises:
        WeightsError: naming the first tensors that are not.
    """
    bad = []
    for name, tensor in tensors.items():
        if tensor.numel() == 0 or not tensor.is_floating_point() or name.split(".")[-1] in MASKS:
            continue
        low, high = torch.aminmax(tensor.float() if tensor.itemsize < 4 else tensor)  # NaN propagates
        if not bool(low.isfinite() & high.isfinite()):
            count = int((~tensor.float().isfinite()).sum())
            bad.append(f"{name} ({count} of {tensor.numel()} values)")
    if bad:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise WeightsError(
            f"{path} has weights that are not finite: {', '.join(bad[:3])}{more}; its training diverged, so take an "
            "earlier checkpoint, or the copy is damaged, so fetch it again"
        )


def _loaded(tensor: object) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{type(tensor).__name__} is not a tensor")
    return tensor
