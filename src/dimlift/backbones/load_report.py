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
        entry: place of the state dict in the file, if the file holds more.
        prefix: prefix of the names in the file.
        folded: number of weights whose weight or spectral norm was folded into them.
        in_chans: channels of the images that the weights were trained on, if not those of the network as published.
        resized: tensors of another size in the file.
        dropped: tensors of the file that are not part of this network (heads, text towers), grouped.
    """

    filled: int | None = None
    tensors: int | None = None
    naming: str = ""
    entry: str = ""
    prefix: str = ""
    folded: int = 0
    in_chans: int | None = None
    resized: Resized = field(default_factory=dict)
    dropped: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Summarise all but the resized tensors in one line; empty if nothing is known."""
        parts = [] if self.filled is None else [f"{self.filled} of {self.tensors} tensors loaded"]
        parts += [f"names: {self.naming}"] if self.naming else []
        parts += [f"entry {self.entry!r}"] if self.entry else []
        parts += [f"prefix {self.prefix!r}"] if self.prefix else []
        parts += [f"{self.folded} normalised weights folded"] if self.folded else []
        parts += [] if self.in_chans is None else [f"trained on images of {self.in_chans} channels"]
        parts += [f"not used: {', '.join(self.dropped)}"] if self.dropped else []
        return "; ".join(parts)


def resized_by(before: Mapping[str, Tensor], after: Mapping[str, Tensor], lost: Iterable[str]) -> dict[str, str]:
    """Find the tensors that a key filter resized.

    Args:
        before: tensors passed to the filter.
        after: tensors it returned.
        lost: keys of `before` that it did not return; a position table or patch kernel may have been renamed as well.

    Returns:
        For each resized tensor of `after`, its key in `before`.
    """
    tables = [key for key in lost if "pos" in key]
    kernels = [key for key in lost if before[key].ndim == 4]
    found = {}
    for key, tensor in after.items():
        if key in before:
            names = [key]
        elif "patch_embed" in key and tensor.ndim == 4:
            names = [name for name in kernels if before[name].shape[:2] == tensor.shape[:2]]
        else:
            names = [name for name in tables if "pos" in key and before[name].shape[-1] == tensor.shape[-1]]
        if len(names) == 1 and before[names[0]].numel() != tensor.numel():
            found[key] = names[0]
    return found


def is_resizable(key: str) -> bool:
    """Whether a tensor may be resized on loading: tables over positions, and the kernel of the patch embedding."""
    return "pos" in key or "patch_embed" in key


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
