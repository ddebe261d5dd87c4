"""Read JSON that somebody else may have written: neither its size nor its nesting can take the memory or the stack."""

import json
from pathlib import Path
from typing import Any

LARGEST = 64 << 20
"""Bytes of the largest record or card that is read."""


def read_json(path: Path, largest: int = LARGEST) -> Any:
    """The content of a JSON file.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no JSON in UTF-8, larger than `largest` bytes, or nested too deeply.
    """
    with path.open("rb") as stream:
        content = stream.read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"it is larger than {largest >> 20} MiB")
    try:
        return json.loads(content.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
