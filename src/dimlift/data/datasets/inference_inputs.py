"""The volumes somebody wants predicted: files and folders, put together into cases."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from dimlift.data.case import Case
from dimlift.data.io.dicom.series import is_series
from dimlift.data.io.readers import stem_of, suffix_of, volumes_in
from dimlift.data.issue import Finding
from dimlift.errors import DataError

_CHANNEL = re.compile(r"^(?P<case>.+)_(?P<channel>\d{4})$")


def find_inputs(
    paths: Sequence[str | Path], channels: Sequence[str], missing: Literal["error", "allow"] = "error"
) -> list[Case]:
    """Cases without label.

    Args:
        paths: files, and folders whose files are taken.
        channels: what the network was trained on. With several channels, CASE_0000, CASE_0001, ... belong together;
            a file without such a number must hold all channels on its last axis.
        missing: under "allow" a case may lack some; a path at which nothing lies then takes their place.

    Raises:
        DataError: if nothing is there, a channel is missing, or two files have one name.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise Finding(str(path), "error", "there is no such file or folder", "check the path").as_error()
        inside = volumes_in(path) if path.is_dir() and not is_series(path) else [path]
        if not inside:
            raise Finding(str(path), "error", "holds no volume", "give a folder of volumes or a series").as_error()
        files += inside
    if not files:
        raise DataError("no input given; name volumes or folders of volumes")
    together: dict[str, dict[int, Path]] = {}
    for file in files:
        match = _CHANNEL.match(stem_of(file))
        numbered = match is not None and int(match["channel"]) < len(channels)
        name, channel = (match["case"], int(match["channel"])) if match and numbered else (stem_of(file), 0)
        if channel in together.setdefault(name, {}):
            remedy = "predict them in two calls with different outputs, or rename one"
            raise Finding(str(file), "error", f"has the name of {together[name][channel]}", remedy).as_error()
        together[name][channel] = file
    for name, parts in together.items():
        extra = [
            other for index in range(len(channels), len(channels) + 2) if (other := f"{name}_{index:04d}") in together
        ]
        if 0 in parts and _CHANNEL.match(stem_of(parts[0])) and extra:
            found = f"case {name} has {len(parts) + len(extra)} channel files, the run was trained on {len(channels)}"
            remedy = "give the channels it was trained on; rename files that are cases of their own"
            raise Finding(str(parts[0]), "error", found, remedy).as_error()
    return [
        Case(name, _complete(name, parts, channels, missing), None, name) for name, parts in sorted(together.items())
    ]


def _complete(name: str, parts: dict[int, Path], channels: Sequence[str], allowed: str) -> tuple[Path, ...]:
    """The files of one case in the order of the channels."""
    first = next(iter(parts.values()))
    if len(channels) == 1 or (len(parts) == 1 and stem_of(first) == name):
        return (first,)
    suffix = suffix_of(first)
    missing = [f"{name}_{i:04d}{suffix or ''} ({channels[i]})" for i in range(len(channels)) if i not in parts]
    if missing and allowed != "allow":
        found = f"lacks {', '.join(missing)}"
        raise Finding(str(first.parent), "error", found, "give every channel of the case").as_error()
    absent = (first.with_name(f"{name}_{index:04d}{suffix or ''}") for index in range(len(channels)))
    return tuple(parts.get(index, path) for index, path in enumerate(absent))
