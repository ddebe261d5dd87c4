"""docs/config.md, written from the descriptions of the keys themselves, so that it can never tell another story.

`python -m dimlift.studies.config_reference docs/config.md` writes it anew.
"""

import json
import sys
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from dimlift.config.method_config import Arm, PlanSection
from dimlift.config.pretraining_config import Pretraining
from dimlift.config.sections import (
    BudgetSection,
    CloudsSection,
    DatasetSection,
    LabelledCloudsSection,
    PreprocessingSection,
    ResourcesSection,
    SplitSection,
    TrainingSection,
)
from dimlift.methods.registry import METHODS, POINT_METHODS, POINT_NETWORKS, PRETRAINING
from dimlift.studies.pretrain_config import FramesSection, PicturesSection, PretrainConfig
from dimlift.studies.run_config import StudyConfig, TrainConfig
from dimlift.studies.self_training.config import StagesConfig

SECTIONS: dict[str, type[BaseModel]] = {
    "dataset": DatasetSection,
    "preprocessing": PreprocessingSection,
    "split": SplitSection,
    "budget": BudgetSection,
    "training": TrainingSection,
    "resources": ResourcesSection,
    "pictures": PicturesSection,
    "frames": FramesSection,
    "clouds": CloudsSection,
}

_OPENING = """# Configuration

One YAML file describes one run (`dimlift train CONFIG --out RUN`), one study (`dimlift compare STUDY --out DIR`) or
one pretraining (`dimlift pretrain METHOD CONFIG --out DIR`).
Every key can be overridden on the command line with `key.sub=value`, where the value is YAML:

```
dimlift train train.yaml --out runs/first training.batch_size=4 arm.widths=[32,64,128]
```

Unknown keys are errors that name the nearest key. Complete examples: [train.yaml](../examples/train.yaml),
[study.yaml](../examples/study.yaml), [transseg.yaml](../examples/transseg.yaml),
[pretrain.yaml](../examples/pretrain.yaml), [points.yaml](../examples/points.yaml).

This page is written from the program itself: `python -m dimlift.studies.config_reference docs/config.md`.
"""


def config_page() -> str:
    """The whole page, Markdown."""
    parts = [_OPENING]
    parts += ["## A run (`train`)\n", _table(TrainConfig)]
    parts += ["## A study (`compare`)\n", _table(StudyConfig)]
    parts += ["## A pretraining (`pretrain`)\n", _table(PretrainConfig)]
    parts += ["## Stages of pretraining (`stages`)\n", _table(StagesConfig)]
    for name, section in SECTIONS.items():
        parts += [f"## `{name}`\n", f"{_first_line(section)}\n", _table(section)]
    parts += ["## `clouds` of a run or a study\n", f"{_first_line(LabelledCloudsSection)} The keys of `clouds`, and:\n"]
    parts += [_table(LabelledCloudsSection, without=CloudsSection)]
    parts += ["## Arms\n", "The keys of an arm depend on its `method`. All have these:\n", _table(Arm)]
    for name, arm in METHODS.items():
        parts += [f"### `method: {name}`\n", f"{_first_line(arm)}\n", _table(arm, without=Arm)]
    parts += ["### `plan` of a lifted arm\n", f"{_first_line(PlanSection)}\n", _table(PlanSection)]
    students = ", ".join(f"`{name}`" for name in POINT_NETWORKS)
    parts += ["## Arms of points\n", f"For runs and studies with `clouds`. A `student` is one of {students}.\n"]
    for name, network in POINT_METHODS.items():
        parts += [f"### `method: {name}` of points\n", f"{_first_line(network)}\n", _table(network, without=Arm)]
    parts += ["## Pretraining methods\n", "The keys of `pretraining` depend on its `method`.\n"]
    for name, way in PRETRAINING.items():
        parts += [f"### `pretraining.method: {name}`\n", f"{_first_line(way)}\n", _table(way, without=Pretraining)]
    return "\n".join(parts)


def _table(model: type[BaseModel], without: type[BaseModel] | None = None) -> str:
    rows = ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    known = without.model_fields if without else {}
    for name, field in model.model_fields.items():
        if name not in known:
            rows.append(f"| `{name}` | {_kind(field)} | {_default(field)} | {_escaped(field.description or '')} |")
    if len(rows) == 2:
        return "No keys of its own.\n"
    return "\n".join(rows) + "\n"


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


def _kind(field: FieldInfo) -> str:
    return _escaped(_words(field.annotation))


def _words(annotation: Any) -> str:
    """A type in a reader's words."""
    origin, members = get_origin(annotation), get_args(annotation)
    if annotation in (int, float, str, bool, NoneType):
        words = {int: "whole number", float: "number", str: "text", bool: "true or false", NoneType: "null"}
        return words[annotation]
    if hasattr(annotation, "__metadata__"):
        return _words(members[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in members)
    if origin in (Union, UnionType):
        sections = [m for m in members if isinstance(m, type) and issubclass(m, BaseModel)]
        return "an arm" if len(sections) > 1 else " or ".join(_words(member) for member in members)
    if origin is dict:
        return f"{_words(members[1])} by name"
    if origin is tuple:
        if len(members) == 2 and members[1] is Ellipsis:
            return f"list of {_words(members[0])}"
        return f"[{', '.join(_words(member) for member in members)}]"
    return "section"


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "**required**"
    value = field.default
    if isinstance(value, BaseModel):
        return "as below"
    if isinstance(value, float):
        return f"`{value:.4g}`"
    if isinstance(value, tuple):
        return f"`{json.dumps(value)}`"
    return (
        "not set"
        if value is None
        else f"`{str(value).lower() if isinstance(value, bool) else value}`"
        if value != ""
        else "empty"
    )


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(config_page(), encoding="utf-8")
