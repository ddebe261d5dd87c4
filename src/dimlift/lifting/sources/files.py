"""Weights from a local file, into a 2D network. Every key that does not fit is named."""

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from dimlift.errors import WeightsError

PREFIXES = ("module.", "teacher.", "student.", "backbone.", "model.", "_orig_mod.")
"""What wrappers and training frameworks put before a network's own names."""

WRAPPERS = ("state_dict", "model", "teacher", "student", "net", "model_ema", "state_dict_ema")
"""Entries under which training checkpoints keep the weights."""


def load_weights(network: nn.Module, path: Path, whole: Iterable[str] = ()) -> None:
    """Fill a network from a .safetensors or .pt/.pth file of its own names, bar a wrapper's prefix.

    Args:
        network: filled in place; left as it was if anything does not fit.
        path: the file. Pickled code is never run (weights_only).
        whole: keys of the whole network, where `network` is a part of one that hands out maps: the file may hold
            these too, and the part may have renamed them.

    Raises:
        WeightsError: if the file cannot be read, or any key is missing, left over, or of another shape.
    """
    wanted = network.state_dict()
    names = set(whole)
    found = _without_prefixes(_tensors(path), names | set(wanted))
    if names:
        renamed = {key: next((s for s in _spellings(key) if s in wanted), key) for key in found}
        found = {renamed[key]: value for key, value in found.items() if renamed[key] in wanted or key not in names}
    missing = [key for key in wanted if key not in found]
    left = [key for key in found if key not in wanted]
    shapes = [
        f"{key} is {tuple(found[key].shape)} in the file and {tuple(wanted[key].shape)} in the network"
        for key in wanted
        if key in found and found[key].shape != wanted[key].shape
    ]
    dropped_head = [key for key in left if key.split(".")[0] in ("head", "fc", "classifier", "dino_head", "ibot_head")]
    left = [key for key in left if key not in dropped_head or _has_head(wanted, key)]
    faults = []
    if missing:
        faults.append(f"missing: {_some(missing)}")
    if left:
        faults.append(f"not of this network: {_some(left)}")
    if shapes:
        faults.append(_some(shapes, "; "))
    if faults:
        raise WeightsError(f"{path} does not fit the network; {'; '.join(faults)}; open the network it was saved from")
    network.load_state_dict({key: found[key] for key in wanted})


def _tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}; give the path of a .safetensors, .pt or .pth file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as fault:  # each reader fails in ways of its own
        raise WeightsError(f"{path} cannot be read as weights: {fault}; save it as safetensors") from fault
    for name in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    tensors = (
        {key: value for key, value in content.items() if isinstance(value, Tensor)} if isinstance(content, dict) else {}
    )
    if not tensors:
        raise WeightsError(f"{path} holds no named tensors; wanted the state_dict of a network")
    return tensors


def _without_prefixes(tensors: dict[str, Tensor], wanted: set[str]) -> dict[str, Tensor]:
    """Strip the prefix that makes most keys fit, once for each wrapper around it."""

    def fitting(keys: list[str]) -> int:
        return sum(key in wanted for key in keys)

    while True:
        best, gain = None, fitting(list(tensors))
        for prefix in PREFIXES:
            bare = [key.removeprefix(prefix) for key in tensors if key.startswith(prefix)]
            further = any(key.startswith(other) for key in bare for other in PREFIXES)
            if fitting(bare) > gain or (bare and gain == 0 and further):
                best, gain = prefix, fitting(bare)
        if best is None:
            return tensors
        tensors = {key.removeprefix(best): value for key, value in tensors.items() if key.startswith(best)}


def _spellings(key: str) -> tuple[str, ...]:
    """How timm's map-giving parts call a tensor of the whole network."""
    return key, key.replace(".", "_", 1), f"model.{key}", f"body.{key}"


def _has_head(wanted: dict[str, Tensor], key: str) -> bool:
    return any(name.split(".")[0] == key.split(".")[0] for name in wanted)


def _some(names: list[str], comma: str = ", ") -> str:
    more = f"{comma}and {len(names) - 5} more" if len(names) > 5 else ""
    return comma.join(names[:5]) + more
