"""Which tensors of a checkpoint are the network's: dictionaries and objects, however nested."""

import re
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from dimlift.backbones.restricted_unpickler import SCRIPTED, PythonObject
from dimlift.backbones.saved_tensor import SavedTensor

Leaf = SavedTensor | Tensor

WRAPPERS = ("state_dict", "network_weights", "model", "teacher", "student", "net", "model_ema", "state_dict_ema")
"""Entries under which training checkpoints store the weights, the first of them first."""

TRAINING = (
    "optimizer", "optimizers", "optimizer_state", "optimizer_states", "optimizer_state_dict", "optim", "opt", "scaler",
    "grad_scaler", "lr_scheduler", "lr_schedulers", "scheduler", "loops", "callbacks", "criterion", "loss", "rng_state",
)  # fmt: skip
"""Entries that hold the state of training, never weights."""

MAX_DEPTH = 32
MAX_NODES = 100_000

_NUMBER = re.compile(r"\.\d+(?=\.|$)")


def select_entry(content: Any) -> tuple[str, dict[str, Leaf]]:
    """Choose the dictionary with the network's weights.

    Entries called as in `WRAPPERS` come first, then a dictionary that holds tensors itself, then the only one that has
    any inside. Several dictionaries beside each other ({"encoder": ..., "head": ...}) are joined, by dotted names.

    Returns:
        Its place ("model.state_dict", empty for the file itself), and its tensors.
    """
    path: list[str] = []
    node = content
    for _ in range(MAX_DEPTH):
        inside = _children(node)
        if _is_module(node):
            break
        wrapper = next((name for name in WRAPPERS if name in inside and _has_tensors(inside[name])), None)
        if wrapper is None:
            if any(isinstance(value, Leaf) for value in inside.values()):
                break
            tables = [name for name in inside if name not in TRAINING and _has_tensors(inside[name])]
            if len(tables) != 1:
                break
            wrapper = tables[0]
        path.append(wrapper)
        node = inside[wrapper]
    place = ".".join(path)
    inside = _children(node)
    direct = {name: value for name, value in inside.items() if isinstance(value, Leaf)}
    if direct and not _is_module(node):
        return place, direct
    kept = {name: value for name, value in inside.items() if _is_module(node) or name not in TRAINING}
    return place, dict(_flatten(kept))


def tensor_tables(content: Any) -> dict[str, dict[str, Leaf]]:
    """Return every dictionary and object that holds tensors itself, by its place in the file.

    Modules are one table each, and so are numbered entries beside each other ("optimizer.state.*").
    """
    tables: dict[str, dict[str, Leaf]] = {}
    for name, leaf in _flatten(content, separator="\0"):
        place, _, own = name.rpartition("\0")
        numbered = _NUMBER.sub(".*", place.replace("\0", "."))
        tables.setdefault(numbered, {})[own if numbered == place else f"{place}.{own}".replace("\0", ".")] = leaf
    return tables


def _flatten(content: Any, separator: str = ".") -> Iterator[tuple[str, Leaf]]:
    """Yield the tensors of nested dictionaries and objects, with dots between the names inside a module.

    Each container is visited once, so that none is endless.
    """
    stack: list[tuple[str, Any, int, str]] = [("", content, 0, separator)]
    seen: set[int] = set()
    while stack:
        name, node, depth, joint = stack.pop()
        if isinstance(node, Leaf):
            yield name, node
            continue
        if id(node) in seen or depth > MAX_DEPTH or len(seen) > MAX_NODES:
            continue
        inside = _children(node)
        if inside:
            seen.add(id(node))
        prefix, below = f"{name}{joint}" if name else "", "." if _is_module(node) else separator
        stack += [(f"{prefix}{key}", value, depth + 1, below) for key, value in reversed(inside.items())]


def _children(node: Any) -> dict[str, Any]:
    """Return what a container holds, by name."""
    if isinstance(node, PythonObject):
        if _is_live(node):  # a whole nn.Module: names as in its state dict
            parts = [_children(node.attributes.get(kind)) for kind in ("_parameters", "_buffers", "_modules")]
            transient = node.attributes.get("_non_persistent_buffers_set")
            transient = transient if isinstance(transient, set | frozenset) else ()
            return {name: value for part in parts for name, value in part.items() if name not in transient}
        if _is_scripted(node):
            return {name: value for name, value in node.attributes.items() if _is_scripted_state(node, name, value)}
        return _children({**node.attributes, **node.entries})
    if isinstance(node, dict):
        return {str(key): value for key, value in node.items() if isinstance(key, str) or _is_index(key)}
    if isinstance(node, list | tuple):
        return {str(index): value for index, value in enumerate(node)}
    return {}


def _is_module(node: Any) -> bool:
    """Whether a node is an nn.Module, or one of TorchScript."""
    return _is_live(node) or _is_scripted(node)


def _is_live(node: Any) -> bool:
    return isinstance(node, PythonObject) and "_modules" in node.attributes and "_parameters" in node.attributes


def _is_scripted(node: Any) -> bool:
    """Whether a node is a module of TorchScript."""
    return isinstance(node, PythonObject) and node.class_name.startswith(SCRIPTED)


def _is_scripted_state(node: PythonObject, name: str, value: Any) -> bool:
    """Whether an attribute of a module of TorchScript is a parameter, a buffer or a module."""
    return (node.declared is None or name in node.declared) if isinstance(value, Leaf) else _is_scripted(value)


def _is_index(key: Any) -> bool:
    return isinstance(key, int) and abs(key) < 2**63  # longer ones cannot be printed


def _has_tensors(node: Any) -> bool:
    return not isinstance(node, Leaf) and next(_flatten(node), None) is not None
