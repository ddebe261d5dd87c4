"""Load weights of 3D networks trained by others, by name and shape."""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from dimlift.backbones.checkpoint_file import read_tensors
from dimlift.errors import WeightsError

PREFIXES = re.compile(r"^(module|network|model|backbone|_orig_mod)\.")
BODIES = ("encoder.", "swinViT.")
"""Prefixes of the pretrained part of a network."""

MIN_FRACTION = 0.9
"""Fraction of the encoder's values that must be loaded; below it the file holds another network."""


def load_encoder_weights(network: nn.Module, path: Path) -> str:
    """Load a checkpoint of a whole network or of its encoder.

    Heads of another task (`seg_layers`, `fc`) and a first convolution with other channels are skipped.

    Args:
        network: changed in place. `MIN_FRACTION` applies to the part under one of `BODIES`, or to the whole network
            if there is none.
        path: the checkpoint.

    Returns:
        One sentence for the run record.

    Raises:
        WeightsError: if the file cannot be read, or holds another network.
    """
    stored = {_strip_prefixes(name): tensor for name, tensor in read_tensors(path).items()}
    expected = network.state_dict()
    prefix = next((body for body in BODIES if any(name.startswith(body) for name in expected)), "")
    matching: dict[str, Tensor] = {}
    for name, value in expected.items():
        found = _find(name, prefix, stored)
        if found is not None and found.shape == value.shape:
            matching[name] = found
    body = {name: value.numel() for name, value in expected.items() if name.startswith(prefix) and value.ndim}
    fraction = sum(size for name, size in body.items() if name in matching) / sum(body.values())
    if fraction < MIN_FRACTION:
        missing = next(name for name in body if name not in matching)
        found = _find(missing, prefix, stored)
        why = "is missing there" if found is None else f"has shape {tuple(found.shape)} there"
        raise WeightsError(
            f"{path} fills {fraction:.0%} of the {'encoder' if prefix else 'network'}, at least {MIN_FRACTION:.0%} are "
            f"required: {missing} {tuple(expected[missing].shape)} {why}; choose the network these weights were "
            "trained in (`network`; `widths` and `blocks`, or `options`)"
        )
    network.load_state_dict(matching, strict=False)
    new = [name for name in expected if name not in matching and "num_batches_tracked" not in name]
    listed = ", ".join(new[:6]) + (f" and {len(new) - 6} more" if len(new) > 6 else "")
    return f"{len(matching)} of {len(expected)} weights come from {path.name}" + (f"; new: {listed}" if new else "")


def _strip_prefixes(name: str) -> str:
    while PREFIXES.match(name):
        name = PREFIXES.sub("", name)
    return name


def _find(name: str, prefix: str, stored: Mapping[str, Tensor]) -> Tensor | None:
    """Return a weight of a checkpoint under any of its possible names."""
    inner = name.removeprefix(prefix)
    timm_name = inner.replace(".mlp.linear", ".mlp.fc")  # MONAI pretrained its Swin under the names of timm
    candidates = (name, inner, _strip_prefixes(name), timm_name)
    return next((stored[each] for each in candidates if each in stored), None)
