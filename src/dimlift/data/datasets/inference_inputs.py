"""Inputs of inference: files and folders combined into cases without labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from dimlift.data.case import Case
from dimlift.data.datasets.nnunet import CHANNEL_FILE
from dimlift.data.io.dicom.series import is_series
from dimlift.data.io.readers import list_volumes, volume_stem, volume_suffix
from dimlift.data.issue import Issue
from dimlift.errors import DataError


def find_inference_cases(
    paths: Sequence[str | Path], channels: Sequence[str], missing: Literal["error", "allow"] = "error"
) -> list[Case]:
    """Return cases without label.

    Args:
        paths: files, or folders of files.
        channels: channel names of the network. With several channels, CASE_0000, CASE_0001, ... form one case; a file
            without such a number must hold all channels on its last axis.
        missing: "allow" accepts cases that lack some channels; a path that does not exist then takes their place.

    Raises:
        DataError: if there is no input, a channel is missing, or two files have the same name.
    """
    files = _list_files(paths)
    if not files:
        raise DataError("no input was passed; pass volumes or folders of volumes")
    by_case: dict[str, dict[int, Path]] = {}
    for file in files:
        match = CHANNEL_FILE.match(volume_stem(file))
        numbered = match is not None and int(match["channel"]) < len(channels)
        name, channel = (match["case"], int(match["channel"])) if match and numbered else (volume_stem(file), 0)
        if channel in by_case.setdefault(name, {}):
            fix = "predict them in two calls with different outputs, or rename one"
            message = f"has the same name as {by_case[name][channel]}"
            raise Issue(str(file), "error", message, fix).as_error()
        by_case[name][channel] = file
    for name, parts in by_case.items():
        extra = [
            other for index in range(len(channels), len(channels) + 2) if (other := f"{name}_{index:04d}") in by_case
        ]
        if 0 in parts and CHANNEL_FILE.match(volume_stem(parts[0])) and extra:
            count = len(parts) + len(extra)
            message = f"case {name} has {count} channel files, but the network was trained on {len(channels)} channels"
            fix = "pass the channels it was trained on; rename files that are separate cases"
            raise Issue(str(parts[0]), "error", message, fix).as_error()
    return [
        Case(name, _channel_files(name, parts, channels, missing), None, name)
        for name, parts in sorted(by_case.items())
    ]


def _list_files(paths: Sequence[str | Path]) -> list[Path]:
    files: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise Issue(str(path), "error", "does not exist", "check the path").as_error()
        inside = list_volumes(path) if path.is_dir() and not is_series(path) else [path]
        if not inside:
            raise Issue(str(path), "error", "holds no volume", "pass a folder of volumes or a series").as_error()
        files += inside
    return files


def _channel_files(name: str, parts: dict[int, Path], channels: Sequence[str], missing: str) -> tuple[Path, ...]:
    """Return the files of one case in the order of the channels."""
    first = next(iter(parts.values()))
    if len(channels) == 1 or (len(parts) == 1 and volume_stem(first) == name):
        return (first,)
    suffix = volume_suffix(first) or ""
    absent = [f"{name}_{i:04d}{suffix} ({channels[i]})" for i in range(len(channels)) if i not in parts]
    if absent and missing != "allow":
        message = f"lacks {', '.join(absent)}"
        raise Issue(str(first.parent), "error", message, "pass every channel of the case").as_error()
    expected = (first.with_name(f"{name}_{index:04d}{suffix}") for index in range(len(channels)))
    return tuple(parts.get(index, path) for index, path in enumerate(expected))
