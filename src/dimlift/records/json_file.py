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
        ValueError: if it is not JSON in UTF-8, holds NaN or Infinity, is larger than `max_bytes`, or nested too deeply.
    """
    with path.open("rb") as stream:
        content = stream.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"it is larger than {max_bytes >> 20} MiB")
    try:
        return json.loads(
            content.decode("utf-8-sig"), parse_constant=_refuse_constant
        )  # Windows editors write a byte order mark
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse_constant(name: str) -> None:
    """Raises: ValueError, for NaN and Infinity, which Python reads although they are no JSON."""
    raise ValueError(f"it holds {name}, which is not a number of JSON")
