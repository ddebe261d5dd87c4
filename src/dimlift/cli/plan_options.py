"""Command-line options generated from the fields of `DepthPlan`."""

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import Field, fields
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from dimlift.lifting.depth_plan import DepthPlan, choices_by_field


def with_plan_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the parameter `plan` of a command by one option for each field of `DepthPlan`."""
    signature = inspect.signature(command)
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        parameters += [parameter] if parameter.name != "plan" else [_parameter(option) for option in fields(DepthPlan)]

    @functools.wraps(command)
    def wrapper(**values: Any) -> None:
        texts = {option.name: values.pop(option.name) for option in fields(DepthPlan)}
        plan = DepthPlan(**{name: _parse(name, text) for name, text in texts.items() if text is not None})
        command(plan=plan, **values)

    wrapper.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapper


def _parameter(option: Field[Any]) -> inspect.Parameter:
    default, text = option.default, option.metadata["description"]
    choices = choices_by_field().get(option.name, ())
    if choices:
        text += f" Names: {', '.join(f'`{choice}`' for choice in choices)}."
    kind: Any = bool if isinstance(default, bool) else str
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    return inspect.Parameter(
        option.name,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=default if default is None or kind is bool else str(default),
        annotation=Annotated[kind | None, typer.Option(f"--{option.name.replace('_', '-')}", help=text)],
    )


def _parse(name: str, text: str | bool) -> Any:
    """Return the value of a field: `1,2` for several values, `layer4=3,stage0=5` for a number by name."""
    if isinstance(text, bool):
        return text
    hint = get_type_hints(DepthPlan)[name]
    kinds = {get_origin(member) for member in (hint, *get_args(hint))}
    if Mapping in kinds and "=" in text:
        pairs = (part.partition("=") for part in text.split(","))
        return {key: _number(value) for key, _, value in pairs}
    if tuple in kinds:
        return tuple(_number(part) for part in text.split(","))
    return _number(text)


def _number(text: str) -> Any:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text
