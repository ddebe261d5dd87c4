"""The volumes somebody wants predicted: files and folders, put together into cases."""

import re
from collections.abc import Sequence
from pathlib import Path

from dimlift.data.cases import Case
from dimlift.data.findings import Finding
from dimlift.data.formats import stem_of, suffix_of, volumes_in

_CHANNEL = re.compile(r"^(?P<case>.+)_(?P<channel>\d{4})$")


def find_inputs(paths: Sequence[str | Path], channels: Sequence[str]) -> list[Case]:
    """Cases without label.

    Args:
        paths: files, and folders whose files are taken.
        channels: what the network was trained on. With several channels, CASE_0000, CASE_0001, ... belong together;
            a file without such a number must hold all channels on its last axis.

    Raises:
        DataError: if nothing is there, a channel is missing, or two files have one name.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise Finding(str(path), "error", "there is no such file or folder", "check the path").as_error()
        inside = volumes_in(path) if path.is_dir() else [path]
        if not inside:
            raise Finding(str(path), "error", "holds no volume", "give a folder of .nii.gz files").as_error()
        files += inside
    together: dict[str, dict[int, Path]] = {}
    for file in files:
        match = _CHANNEL.match(stem_of(file))
        numbered = match is not None and int(match["channel"]) < len(channels)
        name, channel = (match["case"], int(match["channel"])) if match and numbered else (stem_of(file), 0)
        if channel in together.setdefault(name, {}):
            remedy = "predict them in two calls with different outputs, or rename one"
            raise Finding(str(file), "error", f"has the name of {together[name][channel]}", remedy).as_error()
        together[name][channel] = file
    return [Case(name, _complete(name, parts, channels), None, name) for name, parts in sorted(together.items())]


def _complete(name: str, parts: dict[int, Path], channels: Sequence[str]) -> tuple[Path, ...]:
    """The files of one case in the order of the channels."""
    first = next(iter(parts.values()))
    if len(channels) == 1 or (len(parts) == 1 and stem_of(first) == name):
        return (first,)
    suffix = suffix_of(first)
    missing = [f"{name}_{i:04d}{suffix} ({channels[i]})" for i in range(len(channels)) if i not in parts]
    if missing:
        found = f"lacks {', '.join(missing)}"
        raise Finding(str(first.parent), "error", found, "give every channel of the case").as_error()
    return tuple(parts[index] for index in range(len(channels)))
