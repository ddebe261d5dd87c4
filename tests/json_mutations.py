"""Systematic changes of the values of a JSON document, for tests of what reads files of others."""

import copy
import math
from collections.abc import Iterator
from typing import Any

REPLACEMENTS: dict[str, Any] = {
    "null": None,
    "text": "another",
    "empty text": "",
    "minus one": -1,
    "zero": 0,
    "huge": 10**18,
    "beyond float": 10**400,
    "tiny": 1e-300,
    "large float": 1e300,
    "NaN": math.nan,
    "infinite": math.inf,
    "true": True,
    "list": [],
    "nested": {"a": {"b": [[1]]}},
}


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value, the outer ones first."""
    if path:
        yield path
    keys = list(content) if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    for key in keys:
        yield from places(content[key], (*path, key))


def mutated(content: Any) -> Iterator[tuple[str, Any]]:
    """Yield a name and a copy of the content for each value and change: removed, replaced, negated, repeated."""
    for path in places(content):
        *way, last = path
        where = ".".join(map(str, path))

        def changed(value: Any, way: list[Any] = way, last: Any = last) -> Any:
            other = copy.deepcopy(content)
            holder = other
            for key in way:
                holder = holder[key]
            if value is ...:
                del holder[last]
            else:
                holder[last] = value
            return other

        old = content
        for key in path:
            old = old[key]
        yield f"{where} deleted", changed(...)
        for name, value in REPLACEMENTS.items():
            if value != old or type(value) is not type(old):
                yield f"{where} {name}", changed(value)
        if isinstance(old, int | float) and not isinstance(old, bool):
            yield f"{where} negated", changed(-old or -1)
        if isinstance(old, list) and old:
            yield f"{where} twice", changed([*old, *old])
            yield f"{where} thousandfold", changed(old * 1000)
