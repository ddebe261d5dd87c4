"""Weights of 3D networks trained by others, put in place by name and shape; what did not arrive is told."""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from dimlift.errors import WeightsError
from dimlift.lifting.sources.files import read_tensors

PREFIXES = re.compile(r"^(module|network|model|backbone|_orig_mod)\.")
SHARE = 0.9
"""Of the encoder's numbers must arrive; with less it is another network."""


def fill_encoder(network: nn.Module, path: Path) -> str:
    """Fill a network with an `encoder` from a checkpoint of the whole or of the encoder alone.

    Answers of another task (`seg_layers`, `fc`) have no place here and stay behind; so does a first convolution for
    another number of channels.

    Returns:
        one sentence for the record.

    Raises:
        WeightsError: if the file cannot be read, or holds another network.
    """
    found = _named(read_tensors(path))
    wanted = network.state_dict()
    fitting: dict[str, Tensor] = {}
    for name, value in wanted.items():
        for candidate in (name, name.removeprefix("encoder.")):
            if candidate in found and found[candidate].shape == value.shape:
                fitting[name] = found[candidate]
                break
    body = {name: value.numel() for name, value in wanted.items() if name.startswith("encoder.") and value.ndim}
    share = sum(size for name, size in body.items() if name in fitting) / sum(body.values())
    if share < SHARE:
        missing = next(name for name in body if name not in fitting)
        there = found.get(missing, found.get(missing.removeprefix("encoder.")))
        why = "is not there" if there is None else f"has shape {tuple(there.shape)} there"
        raise WeightsError(
            f"{path} fills {share:.0%} of the encoder, wanted {SHARE:.0%}: {missing} "
            f"{tuple(wanted[missing].shape)} {why}; choose the network these weights "
            "were trained in (`network`, `widths`, `blocks`)"
        )
    network.load_state_dict(fitting, strict=False)
    new = [name for name in wanted if name not in fitting and "num_batches_tracked" not in name]
    shown = ", ".join(new[:6]) + (f" and {len(new) - 6} more" if len(new) > 6 else "")
    return f"{len(fitting)} of {len(wanted)} weights come from {path.name}" + (f"; new: {shown}" if new else "")


def _named(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without what trainers wrap around a network."""
    named = {}
    for name, tensor in tensors.items():
        while PREFIXES.match(name):
            name = PREFIXES.sub("", name)
        named[name] = tensor
    return named
