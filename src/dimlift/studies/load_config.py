"""Read a configuration from YAML and `key.sub=value` overrides; every error is one readable line."""

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from dimlift.config.safe_yaml import MAX_CHARS, read_yaml
from dimlift.errors import ConfigError, UnknownNameError
from dimlift.methods.registry import METHODS, PRETRAINING

Model = TypeVar("Model", bound=BaseModel)

_MAX_ERRORS = 50
_MAX_VALUE_CHARS = 200


def load_config(path: Path | str, overrides: Sequence[str], model: type[Model]) -> Model:
    """Read a configuration file.

    Args:
        path: YAML file.
        overrides: `key.sub=value` pairs that take precedence over the file; values are YAML.
        model: `TrainConfig`, `StudyConfig` or another configuration class.

    Raises:
        ConfigError: naming the file, the key, the value and what is expected.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8") as stream:
            text = stream.read(MAX_CHARS + 1)
        raw = read_yaml(text)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no configuration file {path}; see examples/ for complete ones") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}; pass a YAML text file") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not YAML: {error}; check colons and indentation") from error
    if raw is None:
        raw = {}
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} holds a {type(raw).__name__}, not keys and values; start with 'dataset:'")
    apply_overrides(raw, overrides)
    return parse(raw, model, f"{path} with {' '.join(overrides)}" if overrides else str(path))


def parse(raw: Mapping[str, Any], model: type[Model], source: str = "the configuration") -> Model:
    """Validate keys and values.

    Raises:
        ConfigError: with one line per error.
    """
    try:
        return model.model_validate(dict(raw))
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)
        lines = _error_lines(errors[:_MAX_ERRORS], raw, model)
        if len(errors) > _MAX_ERRORS:
            lines.append(f"... and {len(errors) - _MAX_ERRORS} more")
        joined = "\n  ".join(lines)
        if not source:
            raise ConfigError(joined) from None
        raise ConfigError(f"{source}: {joined}" if len(lines) == 1 else f"{source}:\n  {joined}") from None


def apply_overrides(raw: dict[str, Any], pairs: Sequence[str]) -> None:
    """Set values in place, given as `key.sub=value`.

    Raises:
        ConfigError: naming a pair that is none.
    """
    for pair in pairs:
        _apply_override(raw, pair)


def _apply_override(raw: dict[str, Any], pair: str) -> None:
    key, separator, text = pair.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise ConfigError(f"{pair!r} is not an override; write key.sub=value, for example training.batch_size=4")
    try:
        value = read_yaml(text)
    except ValueError as error:
        raise ConfigError(f"the value of {pair!r} is not YAML: {error}") from error
    section = raw
    for part in parts[:-1]:
        child = section.setdefault(part, {})
        if child is None:
            child = section[part] = {}
        if not isinstance(child, dict):
            raise ConfigError(f"override {pair!r}: {part!r} is {child!r}, which has no keys below it")
        section = child
    section[parts[-1]] = value


def _error_lines(errors: list[ErrorDetails], raw: Mapping[str, Any], model: type[BaseModel]) -> list[str]:
    """Return one line per key with an error; the errors of the members of a union are joined."""
    expected: dict[str, list[str]] = {}
    lines: list[str] = []
    for error in errors:
        location, kind = error["loc"], error["type"]
        if kind == "missing" and isinstance(location[-1], int):  # a tuple that is too short
            path, value = _resolve(location[:-1], raw, keep_last=False)
            options = expected.setdefault(f"{'.'.join(path)}\0{value!r}", [])
            options[:] = [o for o in options if not o.startswith("a list of")] + [f"a list of {location[-1] + 1}"]
            continue
        path, value = _resolve(location, raw, keep_last=kind in ("extra_forbidden", "missing"))
        name = ".".join(path)
        match kind:
            case "extra_forbidden":
                lines.append(_unknown_key(path, raw, model))
            case "missing":
                description = _description(path, raw, model)
                lines.append(f"key '{name}' is missing" + (f": {description}" if description else ""))
            case "union_tag_not_found":
                methods = PRETRAINING if name == "pretraining" else METHODS
                lines.append(f"key '{name}.method' is missing; choose one of: {', '.join(methods)}")
            case "union_tag_invalid":
                known = re.findall(r"'([^']+)'", str(error["ctx"]["expected_tags"]))
                lines.append(f"'{name}.method': {UnknownNameError('method', str(error['ctx']['tag']), known)}")
            case "value_error":
                lines.append(f"'{name}' {error['ctx']['error']}" if name else str(error["ctx"]["error"]))
            case _:
                expected.setdefault(f"{name}\0{value!r}", []).append(_expected_value(error))
    for key, options in expected.items():
        name, text = key.split("\0")
        found = text if len(text) <= _MAX_VALUE_CHARS else f"{text[:_MAX_VALUE_CHARS]}..."
        lines.append(f"'{name}' must be {' or '.join(dict.fromkeys(options))}, found {found}")
    return lines


def _resolve(location: tuple[int | str, ...], raw: Any, keep_last: bool) -> tuple[list[str], Any]:
    """Return the part of a location that exists in the file (pydantic adds names of union members), and its value."""
    path: list[str] = []
    value = raw
    for position, part in enumerate(location):
        exists = isinstance(value, Mapping) and part in value
        if exists or (isinstance(value, list | tuple) and isinstance(part, int) and part < len(value)):
            value = value[part]
        elif not (keep_last and position == len(location) - 1):
            continue
        path.append(str(part))
    return path, value


def _unknown_key(path: list[str], raw: Mapping[str, Any], model: type[BaseModel]) -> str:
    known = list(_fields(path[:-1], raw, model))
    name, key = ".".join(path), path[-1]
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if close:
        return f"unknown key '{name}'; did you mean '{close[0]}'?"
    return f"unknown key '{name}'; the keys there are: {', '.join(known)}"


def _description(path: list[str], raw: Any, model: type[BaseModel]) -> str:
    """Return the description of a key as part of a sentence."""
    text = _fields(path[:-1], raw, model)[path[-1]].description or ""
    return text[:1].lower() + text[1:].rstrip(".")


def _fields(path: list[str], raw: Any, model: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """Return the keys of the section at `path`."""
    annotation: Any = model
    value: Any = raw
    for part in path:
        value = value[part] if isinstance(value, Mapping) else value[int(part)]
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            annotation = annotation.model_fields[part].annotation
        else:
            annotation = get_args(annotation)[-1]  # dict[str, X], tuple[X, ...]
        annotation = _section(annotation, value)
    return annotation.model_fields


def _section(annotation: Any, value: Any) -> Any:
    """Return the section class among the members of a union; for an arm, the class of its method."""
    members = _sections(annotation)
    if len(members) > 1 and isinstance(value, Mapping):
        return next(m for m in members if m.model_fields["method"].default == value["method"])
    return members[0] if members else annotation


def _sections(annotation: Any) -> list[type[BaseModel]]:
    """Return the section classes in an annotation, a union in a union included."""
    if hasattr(annotation, "__metadata__"):  # Annotated
        return _sections(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [member for part in get_args(annotation) for member in _sections(part)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []


_TYPE_NAMES = {
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


def _expected_value(error: ErrorDetails) -> str:
    """Describe the values that would have been valid."""
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
    for prefix, words in _TYPE_NAMES.items():
        if re.match(rf"{prefix}(_|$)", kind):
            return words
    return error["msg"][:1].lower() + error["msg"][1:]
