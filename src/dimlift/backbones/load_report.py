"""What became of the tensors of a weights file: how many were wanted, which were resized, what was dropped."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

Shape = tuple[int, ...]

PREFIXES = ("module.", "teacher.", "student.", "backbone.", "model.", "encoder.", "_orig_mod.", "network.", "net.")
"""What wrappers and training frameworks put before a network's own names."""

Resized = dict[str, tuple[Shape, Shape]]
"""By key, a shape in the file and in the network."""


@dataclass(frozen=True)
class Reading:
    """What became of the tensors of a file.

    Attributes:
        filled: tensors of the network whose numbers are the file's; None if they were not counted.
        tensors: of the network. Those that a file need not fill follow from the architecture.
        naming: whose names the file has, where they are not the network's own.
        prefix: what stood before these names.
        resized: what was read at another size than the network's.
        dropped: what the file held beside this network (heads, text towers), in a few words.
    """

    filled: int | None = None
    tensors: int | None = None
    naming: str = ""
    prefix: str = ""
    resized: Resized = field(default_factory=dict)
    dropped: tuple[str, ...] = ()

    def __str__(self) -> str:
        """All but the resized in one line; empty where nothing is known."""
        told = [] if self.filled is None else [f"{self.filled} of {self.tensors} tensors filled"]
        told += [f"named as {self.naming}"] if self.naming else []
        told += [f"found under {self.prefix!r}"] if self.prefix else []
        told += [f"not wanted and dropped: {', '.join(self.dropped)}"] if self.dropped else []
        return "; ".join(told)


def resized_by(before: Mapping[str, Tensor], after: Mapping[str, Tensor], lost: Iterable[str]) -> dict[str, str]:
    """By key, what a tensor was called before a filter gave it more or fewer numbers.

    Args:
        before: what went into the filter.
        after: what came out of it.
        lost: keys of `before` that did not come out; a position table may have been renamed as well.
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


def in_groups(keys: Iterable[str]) -> tuple[str, ...]:
    """Many keys in a few words: "head (2)", "student.backbone (24)"."""
    counted = Counter(_group(key) for key in keys)
    return tuple(name if count == 1 else f"{name} ({count})" for name, count in counted.items())


def spellings(key: str) -> tuple[str, ...]:
    """How timm's map-giving parts call a tensor of the whole network."""
    return key, key.replace(".", "_", 1), f"model.{key}", f"body.{key}"


def _group(key: str) -> str:
    parts = key.split(".")
    return ".".join(parts[: 2 if f"{parts[0]}." in PREFIXES else 1])
