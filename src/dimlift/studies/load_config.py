"""Reads a configuration from YAML and `key.sub=value` overrides; every fault is one readable line."""

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from dimlift.config.safe_yaml import LARGEST, read_yaml
from dimlift.errors import ConfigError, UnknownName
from dimlift.methods.registry import METHODS, POINT_METHODS, PRETRAINING

Model = TypeVar("Model", bound=BaseModel)

_SHOWN = 50
_LONGEST = 200


def load_config(path: Path | str, overrides: Sequence[str], model: type[Model], source: str | None = None) -> Model:
    """Read a configuration file.

    Args:
        path: YAML file.
        overrides: `key.sub=value` pairs that win over the file; values are YAML.
        model: `TrainConfig` or `StudyConfig`.
        source: what faults are said to be in; the file and the overrides if None.

    Raises:
        ConfigError: naming the file, the key, what was found and what was wanted.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8") as stream:
            text = stream.read(LARGEST + 1)
        raw = read_yaml(text)
    except FileNotFoundError as fault:
        raise ConfigError(f"there is no configuration file {path}; examples lie in examples/") from fault
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError(f"{path} cannot be read: {fault}; give a YAML text file") from fault
    except ValueError as fault:
        raise ConfigError(f"{path} is not YAML: {fault}; mind colons and indentation") from fault
    if raw is None:
        raw = {}
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} holds a {type(raw).__name__}, not keys and values; start with 'dataset:'")
    for pair in overrides:
        _override(raw, pair)
    if source is None:
        source = f"{path} with {' '.join(overrides)}" if overrides else str(path)
    return parse(raw, model, source)


def parse(raw: Mapping[str, Any], model: type[Model], source: str = "the configuration") -> Model:
    """Check keys and values already read.

    Raises:
        ConfigError: one line for each fault.
    """
    try:
        return model.model_validate(dict(raw))
    except ValidationError as fault:
        errors = fault.errors(include_url=False)
        lines = _lines(errors[:_SHOWN], raw, model)
        if len(errors) > _SHOWN:
            lines.append(f"... and {len(errors) - _SHOWN} more")
        joined = "\n  ".join(lines)
        if not source:
            raise ConfigError(joined) from None
        raise ConfigError(f"{source}: {joined}" if len(lines) == 1 else f"{source}:\n  {joined}") from None


def _override(raw: dict[str, Any], pair: str) -> None:
    key, found, text = pair.partition("=")
    parts = key.strip().split(".")
    if not found or not all(parts):
        raise ConfigError(f"{pair!r} is not an override; write key.sub=value, for example training.batch_size=4")
    try:
        value = read_yaml(text)
    except ValueError as fault:
        raise ConfigError(f"the value of {pair!r} is not YAML: {fault}") from fault
    here = raw
    for part in parts[:-1]:
        inner = here.setdefault(part, {})
        if inner is None:
            inner = here[part] = {}
        if not isinstance(inner, dict):
            raise ConfigError(f"override {pair!r}: {part!r} is {inner!r}, which has no keys below it")
        here = inner
    here[parts[-1]] = value


def _lines(errors: list[ErrorDetails], raw: Mapping[str, Any], model: type[BaseModel]) -> list[str]:
    """One line for each key with a fault. A union tells about each of its members: those are joined."""
    wanted: dict[str, list[str]] = {}
    lines: list[str] = []
    for error in errors:
        location, kind = error["loc"], error["type"]
        if kind == "missing" and isinstance(location[-1], int):  # a tuple that is too short
            path, here = _follow(location[:-1], raw, keep_last=False)
            wishes = wanted.setdefault(f"{'.'.join(path)}\0{here!r}", [])
            wishes[:] = [w for w in wishes if not w.startswith("a list of")] + [f"a list of {location[-1] + 1}"]
            continue
        path, here = _follow(location, raw, keep_last=kind in ("extra_forbidden", "missing"))
        name = ".".join(path)
        match kind:
            case "extra_forbidden":
                lines.append(_unknown_key(path, raw, model))
            case "missing":
                meant = _meaning(path, raw, model)
                lines.append(f"key '{name}' is missing" + (f": {meant}" if meant else ""))
            case "union_tag_not_found":
                lines.append(f"key '{name}.method' is missing; choose one of: {', '.join(_tags(model, name))}")
            case "union_tag_invalid":
                known = re.findall(r"'([^']+)'", str(error["ctx"]["expected_tags"]))
                lines.append(f"'{name}.method': {UnknownName('method', str(error['ctx']['tag']), known)}")
            case "value_error":
                lines.append(f"'{name}' {error['ctx']['error']}" if name else str(error["ctx"]["error"]))
            case _:
                wanted.setdefault(f"{name}\0{here!r}", []).append(_wish(error))
    for key, wishes in wanted.items():
        name, here = key.split("\0")
        shown = here if len(here) <= _LONGEST else f"{here[:_LONGEST]}..."
        lines.append(f"'{name}' must be {' or '.join(dict.fromkeys(wishes))}, found {shown}")
    return lines


def _follow(location: tuple[int | str, ...], raw: Any, keep_last: bool) -> tuple[list[str], Any]:
    """The part of a location that exists in the file, without the names pydantic gives to members of unions."""
    path: list[str] = []
    here = raw
    for position, part in enumerate(location):
        found = isinstance(here, Mapping) and part in here
        if found or (isinstance(here, list | tuple) and isinstance(part, int) and part < len(here)):
            here = here[part]
        elif not (keep_last and position == len(location) - 1):
            continue
        path.append(str(part))
    return path, here


def _unknown_key(path: list[str], raw: Mapping[str, Any], model: type[BaseModel]) -> str:
    known = _keys(path[:-1], raw, model)
    name, key = ".".join(path), path[-1]
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if near:
        return f"unknown key '{name}'; did you mean '{near[0]}'?"
    return f"unknown key '{name}'; the keys there are: {', '.join(known)}"


def _meaning(path: list[str], raw: Any, model: type[BaseModel]) -> str:
    """What a key stands for."""
    described = _fields(path[:-1], raw, model)[path[-1]].description or ""
    return described[:1].lower() + described[1:].rstrip(".")


def _keys(path: list[str], raw: Any, model: type[BaseModel]) -> list[str]:
    """The keys a section may hold."""
    return list(_fields(path, raw, model))


def _fields(path: list[str], raw: Any, model: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """The keys a section may hold, and what is said of each."""
    annotation: Any = model
    here: Any = raw
    for part in path:
        here = here[part] if isinstance(here, Mapping) else here[int(part)]
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            annotation = annotation.model_fields[part].annotation
        else:
            annotation = get_args(annotation)[-1]  # dict[str, X], tuple[X, ...]
        annotation = _section(annotation, here)
    return annotation.model_fields


def _section(annotation: Any, here: Any) -> Any:
    """The section class among the members of a union; the arm's own class where a method is named."""
    if get_origin(annotation) in (Union, UnionType):
        members = [m for m in get_args(annotation) if isinstance(m, type) and issubclass(m, BaseModel)]
        if len(members) > 1 and isinstance(here, Mapping):
            return next(m for m in members if m.model_fields["method"].default == here["method"])
        return members[0] if members else annotation
    if hasattr(annotation, "__metadata__"):  # Annotated
        return _section(get_args(annotation)[0], here)
    return annotation


def _tags(model: type[BaseModel], name: str) -> Mapping[str, Any]:
    """The methods a section may name."""
    if "pretraining" not in model.model_fields:
        return METHODS
    return PRETRAINING if name == "pretraining" else {**METHODS, **POINT_METHODS}


_WISHES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "tuple": "a list",
    "dict": "keys and values",
    "model": "keys and values",
    "finite": "a finite number",
}


def _wish(error: ErrorDetails) -> str:
    """What a value should have been, in words."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "literal_error":
        return str(context["expected"])
    bounds = {"greater_than": ("gt", "above"), "greater_than_equal": ("ge", "at least")}
    bounds |= {"less_than": ("lt", "below"), "less_than_equal": ("le", "at most")}
    if kind in bounds:
        name, words = bounds[kind]
        return f"{words} {context[name]:g}"
    if kind in ("too_short", "too_long"):
        bound, words = ("min_length", "at least") if kind == "too_short" else ("max_length", "at most")
        return f"a list of {words} {context[bound]}"
    for start, words in _WISHES.items():
        if re.match(rf"{start}(_|$)", kind):
            return words
    return error["msg"][:1].lower() + error["msg"][1:]
