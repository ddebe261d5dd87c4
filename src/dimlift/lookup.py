"""Look a name up in a table of choices, or in the module that defines it."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, TypeVar

from dimlift.errors import UnknownNameError

T = TypeVar("T")


def pick(kind: str, table: Mapping[str, T], name: str) -> T:
    """Return the entry `name` of `table`.

    Args:
        kind: what the names stand for, for the message.

    Raises:
        UnknownNameError: if there is none; the message lists the names.
    """
    if name not in table:
        raise UnknownNameError(kind, name, table)
    return table[name]


def lazy_exports(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a module-level `__getattr__` that imports a name on first use.

    Args:
        package: the package that exports the names.
        homes: by exported name the module that defines it, relative to the package.
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it exports {', '.join(sorted(homes))}")
        module = f"{package}.{homes[name]}"
        return getattr(import_module(module), name)

    return load
