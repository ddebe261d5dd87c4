"""Weights of 3D networks trained by others, put in place by name and shape; what did not arrive is told."""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from dimlift.backbones.checkpoint_file import read_tensors
from dimlift.errors import WeightsError

PREFIXES = re.compile(r"^(module|network|model|backbone|_orig_mod)\.")
BODIES = ("encoder.", "swinViT.")
"""What networks call the part that pretraining teaches."""

SHARE = 0.9
"""Of the encoder's numbers must arrive; with less it is another network."""


def fill_encoder(network: nn.Module, path: Path) -> str:
    """Fill a network from a checkpoint of the whole or of its encoder alone.

    Answers of another task (`seg_layers`, `fc`) have no place here and stay behind; so does a first convolution for
    another number of channels.

    Args:
        network: what has to arrive is under one of `BODIES` there, or all of it where it has none of them.

    Returns:
        one sentence for the record.

    Raises:
        WeightsError: if the file cannot be read, or holds another network.
    """
    found = _named(read_tensors(path))
    wanted = network.state_dict()
    top = next((body for body in BODIES if any(name.startswith(body) for name in wanted)), "")
    fitting: dict[str, Tensor] = {}
    for name, value in wanted.items():
        there = _under(name, top, found)
        if there is not None and there.shape == value.shape:
            fitting[name] = there
    body = {name: value.numel() for name, value in wanted.items() if name.startswith(top) and value.ndim}
    share = sum(size for name, size in body.items() if name in fitting) / sum(body.values())
    if share < SHARE:
        missing = next(name for name in body if name not in fitting)
        there = _under(missing, top, found)
        why = "is not there" if there is None else f"has shape {tuple(there.shape)} there"
        raise WeightsError(
            f"{path} fills {share:.0%} of the {'encoder' if top else 'network'}, wanted {SHARE:.0%}: {missing} "
            f"{tuple(wanted[missing].shape)} {why}; choose the network these weights "
            "were trained in (`network`; `widths` and `blocks`, or `options`)"
        )
    network.load_state_dict(fitting, strict=False)
    new = [name for name in wanted if name not in fitting and "num_batches_tracked" not in name]
    shown = ", ".join(new[:6]) + (f" and {len(new) - 6} more" if len(new) > 6 else "")
    return f"{len(fitting)} of {len(wanted)} weights come from {path.name}" + (f"; new: {shown}" if new else "")


def _named(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without what trainers wrap around a network."""
    named = {}
    for name, tensor in tensors.items():
        named[_bare(name)] = tensor
    return named


def _bare(name: str) -> str:
    while PREFIXES.match(name):
        name = PREFIXES.sub("", name)
    return name


def _under(name: str, top: str, found: Mapping[str, Tensor]) -> Tensor | None:
    """What a checkpoint holds for a weight, whichever way it is called there."""
    inner = name.removeprefix(top)
    timms = inner.replace(".mlp.linear", ".mlp.fc")  # MONAI's own Swin was pretrained under timm's names
    return next((found[each] for each in (name, inner, _bare(name), timms) if each in found), None)
