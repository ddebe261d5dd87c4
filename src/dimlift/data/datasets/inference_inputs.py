"""Inputs of inference: files and folders combined into cases without labels."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from dimlift.data.case import Case
from dimlift.data.datasets.nnunet import CHANNEL_FILE
from dimlift.data.datasets.patient_files import PatientFolder, find_patient_folders
from dimlift.data.io.dicom.series import is_series
from dimlift.data.io.readers import list_volumes, volume_stem, volume_suffix
from dimlift.data.issue import Issue, issue_from_error, raise_on_errors
from dimlift.errors import DataError


def find_inference_cases(
    paths: Sequence[str | Path],
    channels: Sequence[str],
    missing: Literal["error", "allow"] = "error",
    numbered_files: bool | None = None,
    on_skip: Callable[[Issue], None] | None = None,
) -> list[Case]:
    """Return cases without label.

    Args:
        paths: files, folders of files, or folders with one folder per patient.
        channels: channel names of the network. With several channels, CASE_0000, CASE_0001, ... or CASE_T1, CASE_T2,
            ... (the names of the channels) form one case; any other file must hold all channels on its last axis.
        missing: "allow" accepts cases that lack some channels; a path that does not exist then takes their place.
        numbered_files: `Preprocessing.numbered_files` of the network. If it is False, every file is a case with its
            whole name.
        on_skip: leave out cases that lack a channel, and call this for each; None refuses them.

    Raises:
        DataError: if there is no input, a channel is missing, or two files have the same name.
    """
    files, folders = _list_inputs(paths)
    if not files and not folders:
        raise DataError("no input was passed; pass volumes or folders of volumes")
    by_case: dict[str, dict[int, Path]] = {}
    for file in files:
        name, channel = _case_and_channel(volume_stem(file), channels, numbered_files)
        if channel in by_case.setdefault(name, {}):
            fix = "predict them in two calls with different outputs, or rename one"
            message = f"has the same name as {by_case[name][channel]}"
            raise Issue(str(file), "error", message, fix).as_error()
        by_case[name][channel] = file
    if numbered_files is not False:
        _require_no_further_channels(by_case, len(channels))
    skipped: list[Issue] = []
    cases: list[Case] = []
    for name, parts in sorted(by_case.items()):
        with _collecting(skipped):
            cases.append(Case(name, _channel_files(name, parts, channels, missing), None, name))
    for folder in folders:
        with _collecting(skipped):
            cases += _patient_cases(folder, channels, missing)
    if on_skip is None or not cases:
        raise_on_errors(skipped)
    if on_skip is not None:
        for issue in skipped:
            on_skip(issue)
    return cases


@contextmanager
def _collecting(issues: list[Issue]) -> Iterator[None]:
    """Append the issue of a `DataError` to a list."""
    try:
        yield
    except DataError as error:
        issues.append(issue_from_error(error))


def _list_inputs(paths: Sequence[str | Path]) -> tuple[list[Path], list[PatientFolder]]:
    """Return files, and the folders of patients in folders without files of their own."""
    files: list[Path] = []
    folders: list[PatientFolder] = []
    for path in map(Path, paths):
        if not path.exists():
            raise Issue(str(path), "error", "does not exist", "check the path").as_error()
        inside = list_volumes(path) if path.is_dir() and not is_series(path) else [path]
        patients = [] if inside else [folder for folder in find_patient_folders(path) if folder.images]
        if not inside and not patients:
            raise Issue(str(path), "error", "holds no volume", "pass a folder of volumes or a series").as_error()
        files += inside
        folders += patients
    return files, folders


def _case_and_channel(stem: str, channels: Sequence[str], numbered_files: bool | None) -> tuple[str, int]:
    """Return the case and the channel of a file, by the number or the channel name at the end of its name."""
    if numbered_files is False:
        return stem, 0
    match = CHANNEL_FILE.match(stem)
    if match is not None and int(match["channel"]) < len(channels):
        return match["case"], int(match["channel"])
    for index, channel in enumerate(channels if len(channels) > 1 else ()):
        if named := re.fullmatch(rf"(.+)[-_. ]{re.escape(channel)}", stem, re.IGNORECASE):
            return named[1], index
    return stem, 0


def _require_no_further_channels(by_case: dict[str, dict[int, Path]], count: int) -> None:
    """Raise for files that follow the channels of a case: CASE_0002 beside CASE_0000 and CASE_0001 of two channels."""
    for name, parts in by_case.items():
        extra = [other for index in range(count, count + 2) if (other := f"{name}_{index:04d}") in by_case]
        if 0 in parts and CHANNEL_FILE.match(volume_stem(parts[0])) and extra:
            found = len(parts) + len(extra)
            message = f"case {name} has {found} channel files, but the network was trained on {count} channels"
            fix = "pass the channels it was trained on; rename files that are separate cases"
            raise Issue(str(parts[0]), "error", message, fix).as_error()


def _channel_files(name: str, parts: dict[int, Path], channels: Sequence[str], missing: str) -> tuple[Path, ...]:
    """Return the files of one case in the order of the channels."""
    first = next(iter(parts.values()))
    if len(channels) == 1 or (len(parts) == 1 and volume_stem(first) == name):
        return (first,)
    suffix = volume_suffix(first) or ""
    numbered = any(CHANNEL_FILE.match(volume_stem(file)) for file in parts.values())
    names = [f"{name}_{index:04d}" if numbered else f"{name}_{channel}" for index, channel in enumerate(channels)]
    absent = [f"{names[i]}{suffix} ({channels[i]})" for i in range(len(channels)) if i not in parts]
    if absent and missing != "allow":
        message = f"lacks {', '.join(absent)}"
        raise Issue(str(first.parent), "error", message, "pass every channel of the case").as_error()
    return tuple(parts.get(index, first.with_name(f"{other}{suffix}")) for index, other in enumerate(names))


def _patient_cases(folder: PatientFolder, channels: Sequence[str], missing: str) -> list[Case]:
    """Return the cases in the folder of a patient or session, with the roles of its files as channels.

    Raises:
        DataError: if a channel is missing.
    """
    name = "_".join(folder.folders)
    by_role = {image.role.lower(): image.path for image in folder.images}
    wanted = [channel.lower() for channel in channels]
    if len(channels) == 1:
        if wanted[0] in by_role or len(by_role) == 1:
            return [Case(name, (by_role.get(wanted[0], folder.images[0].path),), None, name)]
        return [
            Case("_".join(filter(None, (name, image.target))), (image.path,), None, name) for image in folder.images
        ]
    first = folder.images[0].path
    if len(by_role) == 1 and next(iter(by_role)) not in wanted:  # one file with all channels on its last axis
        return [Case(name, (first,), None, name)]
    absent = [channel for channel, role in zip(channels, wanted, strict=True) if role not in by_role]
    if len(absent) == len(channels) or (absent and missing != "allow"):
        found = ", ".join(file.name for file in by_role.values())
        message = f"lacks {', '.join(absent)}; it holds {found}"
        raise Issue(str(first.parent), "error", message, "pass every channel of the patient, named as such").as_error()
    suffix = volume_suffix(first) or ""
    return [Case(name, tuple(by_role.get(role, first.with_name(f"{role}{suffix}")) for role in wanted), None, name)]
