"""LoadReport: what became of the tensors of a weights file."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

Shape = tuple[int, ...]

PREFIXES = ("module.", "teacher.", "student.", "backbone.", "model.", "encoder.", "_orig_mod.", "network.", "net.")
"""Prefixes that wrappers and training frameworks add to a network's tensor names."""

Resized = dict[str, tuple[Shape, Shape]]
"""By key, the shape in the file and in the network."""


@dataclass(frozen=True)
class LoadReport:
    """Which tensors of a file were loaded, resized or dropped.

    Attributes:
        filled: number of the network's tensors loaded from the file; None if they were not counted.
        tensors: number of the network's tensors. Those that are not in the file follow from the architecture.
        naming: the naming scheme of the file, if it is not the network's own.
        prefix: prefix of the names in the file.
        resized: tensors of another size in the file.
        dropped: tensors of the file that are not part of this network (heads, text towers), grouped.
    """

    filled: int | None = None
    tensors: int | None = None
    naming: str = ""
    prefix: str = ""
    resized: Resized = field(default_factory=dict)
    dropped: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Summarise all but the resized tensors in one line; empty if nothing is known."""
        parts = [] if self.filled is None else [f"{self.filled} of {self.tensors} tensors loaded"]
        parts += [f"names: {self.naming}"] if self.naming else []
        parts += [f"prefix {self.prefix!r}"] if self.prefix else []
        parts += [f"not used: {', '.join(self.dropped)}"] if self.dropped else []
        return "; ".join(parts)


def resized_by(before: Mapping[str, Tensor], after: Mapping[str, Tensor], lost: Iterable[str]) -> dict[str, str]:
    """Find the tensors that a key filter resized.

    Args:
        before: tensors passed to the filter.
        after: tensors it returned.
        lost: keys of `before` that it did not return; a position table may have been renamed as well as resized.

    Returns:
        For each resized tensor of `after`, its key in `before`.
    """
    tables = [key for key in lost if "pos" in key]
    found = {}
    for key, tensor in after.items():
        if key in before:
            names = [key]
        else:
            names = [name for name in tables if "pos" in key and before[name].shape[-1] == tensor.shape[-1]]
        if len(names) == 1 and before[names[0]].numel() != tensor.numel():
            found[key] = names[0]
    return found


def group_keys(keys: Iterable[str]) -> tuple[str, ...]:
    """Summarise keys by their first part: "head (2)", "student.backbone (24)"."""
    counted = Counter(_group(key) for key in keys)
    return tuple(name if count == 1 else f"{name} ({count})" for name, count in counted.items())


def key_aliases(key: str) -> tuple[str, ...]:
    """Return the names that timm's feature extractors may give a tensor or module of the full network."""
    return key, key.replace(".", "_", 1), f"model.{key}", f"body.{key}"


def _group(key: str) -> str:
    parts = key.split(".")
    return ".".join(parts[: 2 if f"{parts[0]}." in PREFIXES else 1])
