"""Generate docs/config.md from the descriptions of the configuration keys.

Usage: `python -m dimlift.studies.config_reference docs/config.md`.
"""

import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from dimlift.config.method_config import MethodConfig
from dimlift.config.pretraining_config import Pretraining
from dimlift.config.sections import (
    BudgetSection,
    DatasetSection,
    PointCloudsSection,
    PreprocessingSection,
    ReportSection,
    ResourcesSection,
    SplitSection,
    TrainingSection,
)
from dimlift.methods.registry import METHODS, PRETRAINING
from dimlift.studies.pretrain_config import FramesSection, ImagesSection, PretrainConfig
from dimlift.studies.run_config import StudyConfig, TrainConfig
from dimlift.studies.self_training.config import SelfTrainingConfig

SECTIONS: dict[str, type[BaseModel]] = {
    "dataset": DatasetSection,
    "preprocessing": PreprocessingSection,
    "point_clouds": PointCloudsSection,
    "split": SplitSection,
    "budget": BudgetSection,
    "training": TrainingSection,
    "resources": ResourcesSection,
    "report": ReportSection,
    "images": ImagesSection,
    "frames": FramesSection,
}

_INTRODUCTION = """# Configuration

One YAML file describes one run (`dimlift train CONFIG --out RUN`), one study (`dimlift compare STUDY --out DIR`), one
pretraining (`dimlift pretrain METHOD CONFIG --out DIR`) or one self-training (`dimlift self-train CONFIG --out DIR`).
Every key can be overridden on the command line with `key.sub=value`, where the value is YAML:

```
dimlift train train.yaml --out runs/first training.batch_size=4 arm.widths=[32,64,128]
```

An unknown key is an error that names the closest known key. Complete examples: [train.yaml](../examples/train.yaml),
[study.yaml](../examples/study.yaml), [transseg.yaml](../examples/transseg.yaml),
[pretrain.yaml](../examples/pretrain.yaml), [self_train.yaml](../examples/self_train.yaml),
[points.yaml](../examples/points.yaml).

Bold values are defaults. This page is generated: `python -m dimlift.studies.config_reference docs/config.md`.
"""


_PLAN = """The fields of a [depth plan](lifting.md#the-depth-plan), and `spacing: data`: that of the training volumes.
"""


def config_page() -> str:
    """Return the page as Markdown."""
    parts = [_INTRODUCTION, "## A run (`train`)\n", _list(TrainConfig)]
    for title, model in (
        ("A study (`compare`)", StudyConfig),
        ("A pretraining (`pretrain`)", PretrainConfig),
        ("A self-training (`self-train`)", SelfTrainingConfig),
    ):
        own = [key for key, field in model.model_fields.items() if not _same(TrainConfig.model_fields.get(key), field)]
        shared = [key for key in model.model_fields if key not in own]
        parts += [f"## {title}\n", f"As for a run: {_quote(shared)}. And:\n", _list(model, own)]
    for name, section in SECTIONS.items():
        parts += [f"## `{name}`\n", f"{_first_line(section)}\n", _list(section)]
    parts += ["## Arms\n", "The keys of an arm depend on its `method`. All arms have these:\n", _list(MethodConfig)]
    parts += ["### `plan`\n", _PLAN]
    methods: dict[str, type[BaseModel]] = {f"method: {name}": options for name, options in METHODS.items()}
    methods |= {f"pretraining.method: {name}": options for name, options in PRETRAINING.items()}
    parts += _methods(methods)
    return "\n".join(parts)


def _methods(methods: Mapping[str, type[BaseModel]]) -> list[str]:
    """Return the options that several methods share, each once, then the options of each method."""
    owned = {method: _by_owner(method) for method in methods.values()}
    parts = []
    for owner in dict.fromkeys(owner for owners in owned.values() for owner in owners if owner not in owned):
        options = dict.fromkeys(option for owners in owned.values() for option in owners.get(owner, ()))
        parts += [f"## Options: {_title(owner)}\n", _list(owner, options)]
    names = {method: name.partition(": ")[2] for name, method in methods.items()}
    for name, method in methods.items():
        links = [
            f"`{names[owner]}`" if owner in owned else f"[{_title(owner)}](#options-{_anchor(_title(owner))})"
            for owner in owned[method]
            if owner is not method
        ]
        parts += [f"## `{name}`\n", _first_line(method) + (f" Also: {', '.join(links)}." if links else "") + "\n"]
        parts += [_list(method, owned[method][method])] if method in owned[method] else []
    return parts


def _by_owner(method: type[BaseModel]) -> dict[type[BaseModel], list[str]]:
    """Return the options of a method by the most general class that has the same option."""
    found: dict[type[BaseModel], list[str]] = {}
    for key, field in method.model_fields.items():
        classes = [c for c in method.__mro__ if issubclass(c, BaseModel) and _same(c.model_fields.get(key), field)]
        if key != "method" and classes[-1] not in (MethodConfig, Pretraining):
            found.setdefault(classes[-1], []).append(key)
    return found


def _same(one: FieldInfo | None, other: FieldInfo) -> bool:
    return one is not None and (one.annotation, one.default, one.description) == (
        other.annotation,
        other.default,
        other.description,
    )


def _list(model: type[BaseModel], keys: Iterable[str] | None = None) -> str:
    """Return a list of some keys of a section, of all by default."""
    fields = {key: model.model_fields[key] for key in (model.model_fields if keys is None else keys)}
    return "".join(f"- `{key}` ({_value(field)}): {field.description or ''}\n" for key, field in fields.items())


def _quote(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _title(model: type[BaseModel]) -> str:
    """Return the name of a class in words, without its kind."""
    return re.sub(r"(?<=[a-z])(?=[A-Z0-9])", " ", re.sub(r"(Config|Options|Pretraining)$", "", model.__name__))


def _anchor(title: str) -> str:
    """Return the anchor of a heading, as python-markdown and GitHub make it."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower())


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


def _type_name(annotation: Any) -> str:
    """Return the name of a type."""
    origin, members = get_origin(annotation), get_args(annotation)
    if annotation in (int, float, str, bool, NoneType):
        names = {int: "int", float: "float", str: "str", bool: "bool", NoneType: "null"}
        return names[annotation]
    if hasattr(annotation, "__metadata__"):
        return _type_name(members[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in members)
    if origin in (Union, UnionType):
        sections = [m for m in members if isinstance(m, type) and issubclass(m, BaseModel)]
        return "an arm" if len(sections) > 1 else " or ".join(_type_name(member) for member in members)
    if origin is dict:
        return f"{_type_name(members[1])} by name"
    if origin is tuple:
        if len(members) == 2 and members[1] is Ellipsis:
            return f"list of {_type_name(members[0])}"
        return f"[{', '.join(_type_name(member) for member in members)}]"
    return "section"


def _value(field: FieldInfo) -> str:
    """Return type and default of a key; the default is bold."""
    kind, value = _type_name(field.annotation), field.default
    if value is PydanticUndefined:
        return f"{kind}, **required**"
    if value is None or value == "" or isinstance(value, BaseModel):
        return kind
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, float):
        text = f"{value:.4g}"
    else:
        text = json.dumps(value) if isinstance(value, tuple) else str(value)
    return kind.replace(f"`{text}`", f"**`{text}`**", 1) if f"`{text}`" in kind else f"{kind}, **`{text}`**"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(config_page(), encoding="utf-8")
