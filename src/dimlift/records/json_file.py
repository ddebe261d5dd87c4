"""Safe reading of JSON files from other sources: size and nesting are bounded."""

import json
from pathlib import Path
from typing import Any

MAX_BYTES = 64 << 20
"""Largest record or card that is read."""


def read_json(path: Path, max_bytes: int = MAX_BYTES) -> Any:
    """Return the content of a JSON file.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is not JSON in UTF-8, larger than `max_bytes`, or nested too deeply.
    """
    with path.open("rb") as stream:
        content = stream.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"it is larger than {max_bytes >> 20} MiB")
    try:
        return json.loads(content.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
