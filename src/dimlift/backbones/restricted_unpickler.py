"""A pickle reader that keeps tensors and runs no code of the file.

A pickle names functions and classes, and calls them. Here no name is ever imported: the few that describe tensors and
dictionaries stand for functions of this module, which only collect numbers, and every other name stands for an empty
`PythonObject`. Attributes of objects are kept, so the tensors inside them can be read.
"""

import pickle
from collections.abc import Callable, Sequence
from typing import IO, Any, ClassVar

import torch

from dimlift.backbones.saved_tensor import STORAGE_DTYPES, SavedStorage, SavedTensor

MAX_CLASSES = 20_000
"""Names of classes that are kept. Each module of a traced network is of a class of its own."""

SCRIPTED = "__torch__."
"""Beginning of the names of TorchScript's classes."""


class PythonObject:
    """Stands for an object of a class that is not imported. Calls of its class and methods do nothing.

    Attributes:
        class_name: "module.name" of its class in the file.
        declared: for a module of TorchScript, names of its parameters and buffers; None if they are not known.
        attributes: state of the object, by name.
        entries: entries, if it is a container.
    """

    __slots__ = ("attributes", "entries")
    class_name: ClassVar[str] = ""
    declared: ClassVar[frozenset[str] | None] = None
    attributes: dict[str, Any]
    entries: dict[Any, Any]

    def __new__(cls, *arguments: Any, **options: Any) -> "PythonObject":  # noqa: D102
        made = object.__new__(cls)
        made.attributes, made.entries = {}, {}
        return made

    def __init__(self, *arguments: Any, **options: Any) -> None:
        return

    def __call__(self, *arguments: Any, **options: Any) -> "PythonObject":  # noqa: D102
        return self

    def __setstate__(self, state: Any) -> None:
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                self.attributes.update({name: value for name, value in part.items() if isinstance(name, str)})

    def __setitem__(self, key: Any, value: Any) -> None:
        self.entries[key] = value

    def append(self, value: Any) -> None:
        """Add an entry, as to a list."""
        self.entries[len(self.entries)] = value

    add = append

    def extend(self, values: Any) -> None:
        """Add entries, as to a list."""
        for value in values:
            self.append(value)


class SavedMapping(dict[Any, Any]):
    """Stands for an OrderedDict, a defaultdict or a Counter."""

    def __setstate__(self, state: Any) -> None:
        return  # attributes such as `_metadata` of a state dict


class _Collector:
    """A function that a pickle may call. It can be neither changed nor replaced by the pickle."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it changes a function of the reader")


class _StorageType:
    """Stands for one of torch's storage classes."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it changes a class of the reader")


class RestrictedUnpickler(pickle.Unpickler):
    """Reads one pickle of a checkpoint. Tensors become `SavedTensor`.

    Args:
        stream: the pickle.

    Attributes:
        classes: by "module.name", what stands for everything that was not imported.
        storages: type of each storage, by key.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream, encoding="utf-8", errors="replace")
        self.classes: dict[str, type[PythonObject]] = {}
        self.storages: dict[str, torch.dtype] = {}

    def find_class(self, module: str, name: str, /) -> Any:
        """Return what stands for a name; nothing is imported."""
        known = f"{module}.{name}"
        if module.split(".")[0] == "torch" and name in STORAGE_DTYPES:
            return _StorageType(STORAGE_DTYPES[name])
        if known in _COLLECTORS:
            return _Collector(_COLLECTORS[known])
        if module == "torch" and isinstance(value := getattr(torch, name, None), torch.dtype):
            return value
        if known not in self.classes and len(self.classes) < MAX_CLASSES:
            self.classes[known] = type("PythonObject", (PythonObject,), {"__slots__": (), "class_name": known})
        return self.classes.get(known, PythonObject)

    @property
    def objects(self) -> tuple[str, ...]:
        """Names of the Python objects that were left empty; modules of TorchScript are read."""
        return tuple(name for name in self.classes if not name.startswith(SCRIPTED))

    def persistent_load(self, pid: Any) -> Any:
        """Return the storage that torch.save refers to."""
        kind, *rest = pid if isinstance(pid, tuple) else (pid,)
        if kind == "module":  # a container with its source text: the container alone
            return rest[0]
        if kind != "storage" or len(rest) < 4 or not isinstance(rest[0], _StorageType):
            raise pickle.UnpicklingError(f"it refers to {kind!r} outside the pickle")
        dtype, key = rest[0].dtype, str(rest[1])
        self.storages[key] = dtype
        view = rest[4] if len(rest) > 4 else None
        return SavedStorage(key, dtype, 0 if view is None else int(view[1]))


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> SavedTensor:
    if not isinstance(storage, SavedStorage):
        raise pickle.UnpicklingError("it holds a tensor without a block of numbers")
    dtype = next((each for each in rest if isinstance(each, torch.dtype)), storage.dtype)
    shape, steps = _integers(size), _integers(stride)
    return SavedTensor(storage, dtype, storage.offset + int(offset), shape, steps)


def _integers(values: Any) -> tuple[int, ...]:
    if not isinstance(values, Sequence):
        raise pickle.UnpicklingError("it holds a tensor without a shape")
    return tuple(int(value) for value in values)


def _first(value: Any, *rest: Any) -> Any:
    return value


def _subclass(function: Any, kind: Any, arguments: Any, *state: Any) -> Any:
    """Return the plain tensor of a subclass of Tensor."""
    return function(*arguments) if isinstance(function, _Collector) else PythonObject()


def _mapping(*arguments: Any) -> SavedMapping:
    pairs = arguments[0] if arguments and isinstance(arguments[0], list | dict) else ()
    return SavedMapping(pairs)


def _names(*arguments: Any) -> frozenset[str]:
    """Return the strings of a set; others hold no names of tensors."""
    members = arguments[0] if arguments and isinstance(arguments[0], list | tuple) else ()
    return frozenset(member for member in members if isinstance(member, str))


_COLLECTORS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "torch.tensor._rebuild_from_type_v2": _subclass,
    "torch.jit._pickle.restore_type_tag": _first,
    **{f"torch.jit._pickle.build_{kind}list": _first for kind in ("int", "double", "bool", "tensor")},
    "builtins.set": _names,
    "__builtin__.set": _names,
    "collections.OrderedDict": _mapping,
    "collections.defaultdict": _mapping,
    "collections.Counter": _mapping,
}
"""By the names in a pickle, the functions that stand for them."""
