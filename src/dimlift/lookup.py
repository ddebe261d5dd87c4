"""Look a name up in a table of choices."""

from collections.abc import Mapping
from typing import TypeVar

from dimlift.errors import UnknownName

T = TypeVar("T")


def pick(kind: str, table: Mapping[str, T], name: str) -> T:
    """The entry called `name`.

    Raises:
        UnknownName: listing the names there are.
    """
    if name not in table:
        raise UnknownName(kind, name, table)
    return table[name]
