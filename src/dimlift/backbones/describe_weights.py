"""What a weights file holds, listed before anything is loaded: dictionaries, prefixes, shapes, the likely network."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dimlift.backbones.checkpoint_entries import Leaf, select_entry, tensor_tables
from dimlift.backbones.checkpoint_file import open_checkpoint
from dimlift.backbones.key_mapping import detect_naming
from dimlift.backbones.load_report import PREFIXES
from dimlift.backbones.nearest_network import NetworkMatch, nearest_network


@dataclass(frozen=True)
class TensorTable:
    """One dictionary of a weights file.

    Attributes:
        place: where it is in the file; empty for the file itself.
        tensors: number of tensors.
        parameters: number of values.
        nbytes: their size.
        dtypes: types of the values, the most frequent first.
        prefix: prefix that all names have, from wrappers; empty if there is none.
        examples: name and shape of the first tensors with more than one axis.
    """

    place: str
    tensors: int
    parameters: int
    nbytes: int
    dtypes: tuple[str, ...]
    prefix: str
    examples: tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class WeightsSummary:
    """Content of a weights file.

    Attributes:
        path: the file.
        nbytes: its size.
        tables: its dictionaries, in order.
        used: place of the dictionary that would be loaded; None if there is none.
        used_tensors: number of tensors that would be loaded from it.
        naming: naming scheme, if it is a known one other than the network's own.
        objects: names of Python objects, which are left empty.
        nearest: the network of timm or torchvision with most of these tensors, if one is recognised.
    """

    path: Path
    nbytes: int
    tables: tuple[TensorTable, ...]
    used: str | None
    used_tensors: int
    naming: str
    objects: tuple[str, ...]
    nearest: NetworkMatch | None


def describe_weights(path: Path) -> WeightsSummary:
    """List what a weights file holds. No code of the file is run, and no values are read from files of torch.save.

    Raises:
        WeightsError: if the file does not exist, is something else, or is damaged.
    """
    checkpoint = open_checkpoint(path)
    tables = tuple(_summarise(place, leaves) for place, leaves in tensor_tables(checkpoint.content).items())
    used, leaves = select_entry(checkpoint.content)
    naming = detect_naming(leaves)
    return WeightsSummary(
        path,
        path.stat().st_size,
        tables,
        used if leaves else None,
        len(leaves),
        "" if naming is None else naming.title,
        checkpoint.objects,
        nearest_network({name: tuple(leaf.shape) for name, leaf in leaves.items()}),
    )


def _summarise(place: str, leaves: Mapping[str, Leaf]) -> TensorTable:
    sizes = {name: math.prod(leaf.shape) for name, leaf in leaves.items()}
    dtypes = Counter(str(leaf.dtype).removeprefix("torch.") for leaf in leaves.values())
    kernels = [(name, tuple(leaf.shape)) for name, leaf in leaves.items() if len(leaf.shape) > 1]
    return TensorTable(
        place,
        len(leaves),
        sum(sizes.values()),
        sum(sizes[name] * leaf.dtype.itemsize for name, leaf in leaves.items()),
        tuple(name for name, _ in dtypes.most_common()),
        common_prefix(leaves),
        tuple(kernels[:2]),
    )


def common_prefix(names: Iterable[str]) -> str:
    """Return the chain of wrapper prefixes that all names begin with ("module.backbone.")."""
    rest, chain = list(names), ""
    while rest:
        prefix = next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in rest)), None)
        if prefix is None:
            return chain
        chain += prefix
        rest = [name.removeprefix(prefix) for name in rest]
    return chain
