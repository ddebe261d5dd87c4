"""A layout written down as patterns of paths, for folders that no other layout fits.

    image: "{case}/*_t1.nii.gz"                        or one pattern per channel: {T1: ..., FLAIR: ...}
    label: "{case}/*_seg.nii.gz"                       masks; without it, {class} in `image` is the class

`{case}` and `{patient}` stand for a part of a path without `/`, `{class}` for the class, `*` for any part without `/`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dimlift.data.case import Case, Dataset, TaskType
from dimlift.data.datasets.dataset_json import describe_labels
from dimlift.data.datasets.table_labels import class_indices
from dimlift.data.io.dicom.series import is_series
from dimlift.data.io.readers import infer_channel_names, volume_suffix
from dimlift.data.issue import Issue
from dimlift.errors import ConfigError, DataError

PLACEHOLDERS = ("patient", "case", "class")
PATTERNS = "patterns"
"""Name of the layout in messages."""

Key = tuple[str, str]
"""Patient and case."""


@dataclass(frozen=True)
class LayoutPatterns:
    """Patterns of the paths of a dataset, relative to its folder.

    Attributes:
        image: pattern by channel; the channel "" if there is one without a name.
        label: pattern of the masks, or None.
    """

    image: dict[str, str]
    label: str | None = None

    @classmethod
    def from_mapping(cls, content: Mapping[str, Any]) -> "LayoutPatterns":
        """Return the patterns of a configuration.

        Raises:
            ConfigError: naming the key, and what is expected.
        """
        example = '{image: "{case}/*_t1.nii.gz", label: "{case}/*_seg.nii.gz"}'
        if unknown := sorted(map(str, content.keys() - {"image", "label"})):
            raise ConfigError(f"layout has the key {unknown[0]!r}; the keys are image and label, as in {example}")
        image, label = content.get("image"), content.get("label")
        channels = {"": image} if isinstance(image, str) else image
        if not isinstance(channels, Mapping) or not channels or not isinstance(label, str | None):
            raise ConfigError(f"layout needs a pattern for image, or one per channel, as in {example}")
        for key, pattern in channels.items():
            _require_pattern(f"image {key}".strip(), pattern, example)
        if label is not None:
            _require_pattern("label", label, example)
        if label is not None and any("{class}" in pattern for pattern in channels.values()):
            raise ConfigError("layout has a pattern for label and {class} in image; keep one of them")
        return cls({str(key): value for key, value in channels.items()}, label)


def read_patterns(path: Path, patterns: LayoutPatterns, task: TaskType | None) -> Dataset:
    """Return the cases whose files match.

    Raises:
        DataError: if a pattern matches no file, or two files of one case.
    """
    if not path.is_dir():
        raise Issue(str(path), "error", "is no folder, which layout patterns apply to", "pass the folder").as_error()
    files = list(_walk(path))
    masks = {} if patterns.label is None else _match(path, patterns.label, "label", files)
    found = {name: _match(path, pattern, name, files, masks) for name, pattern in patterns.image.items()}
    keys = sorted(set().union(*found.values()))
    classes = _classes(path, patterns, files)
    labels = class_indices(list(classes.values()))
    bare = not any(patient for patient, _ in keys)
    cases = []
    for patient, case in keys:
        images = tuple(
            found[name].get((patient, case), _missing(path, pattern, patient, case))
            for name, pattern in patterns.image.items()
        )
        label: Path | int | None = labels[classes[patient, case]] if classes else None
        if patterns.label is not None:
            label = masks.get((patient, case), _missing(path, patterns.label, patient, case))
        name = "_".join(dict.fromkeys(part for part in (classes.get((patient, case), ""), patient, case) if part))
        cases.append(Case(name, images, label, name if bare else patient))
    channels = tuple(patterns.image)
    if channels == ("",):
        channels = infer_channel_names(case.images[0] for case in cases)
    ignore = None
    if patterns.label is not None:
        labels, ignore = describe_labels(path, list(masks.values()))
    kind: TaskType = "classification" if classes else task or "segmentation"
    unmatched = tuple(mask for key, mask in masks.items() if key not in keys)
    return Dataset(path.resolve().name, path, tuple(cases), channels, labels, kind, ignore, (), unmatched)


def _require_pattern(name: str, pattern: Any, example: str) -> None:
    if not isinstance(pattern, str) or not pattern:
        raise ConfigError(f"layout has {pattern!r} as the pattern of {name}; text is expected, as in {example}")
    unknown = set(re.findall(r"\{([^{}]*)\}", pattern)) - set(PLACEHOLDERS)
    if unknown or not {"{case}", "{patient}"} & set(re.findall(r"\{[^{}]*\}", pattern)):
        names = ", ".join(f"{{{known}}}" for known in PLACEHOLDERS)
        found = f"the unknown {{{min(unknown)}}}" if unknown else "neither {case} nor {patient}"
        raise ConfigError(f"layout has {found} in {pattern!r}; a pattern holds {names}, as in {example}")


def _walk(path: Path) -> Iterator[Path]:
    """Yield volumes and series below a folder, without hidden ones."""
    for inside in sorted(path.iterdir()):
        if inside.name.startswith("."):
            continue
        if inside.is_dir() and not is_series(inside):
            yield from _walk(inside)
        elif inside.is_dir() or volume_suffix(inside):
            yield inside


def _match(
    root: Path, pattern: str, name: str, files: list[Path], other: Mapping[Key, Path] | None = None
) -> dict[Key, Path]:
    """Return the file of each case; files in `other` are taken."""
    expression, taken = _compile(pattern), set((other or {}).values())
    found: dict[Key, Path] = {}
    for file in files:
        match = expression.fullmatch(file.relative_to(root).as_posix())
        if match is None or file in taken:
            continue
        parts = match.groupdict()
        key = parts.get("patient") or "", parts.get("case") or ""
        if key in found:
            message = f"matches {pattern!r} for the same case as {found[key]}"
            raise Issue(str(file), "error", message, "make the pattern narrower").as_error()
        found[key] = file
    if not found:
        message = f"has no file that matches {pattern!r} ({name or 'image'})"
        example = f"; the files are like {files[0].relative_to(root).as_posix()}" if files else ""
        raise Issue(str(root), "error", message, f"correct the pattern{example}").as_error()
    return found


def _classes(root: Path, patterns: LayoutPatterns, files: list[Path]) -> dict[Key, str]:
    """Return the class of each case where a pattern holds one.

    Raises:
        DataError: if one case has two classes.
    """
    classes: dict[Key, str] = {}
    for pattern in patterns.image.values():
        expression = _compile(pattern)
        for file in files:
            parts = match.groupdict() if (match := expression.fullmatch(file.relative_to(root).as_posix())) else {}
            if "class" in parts:
                key = parts.get("patient") or "", parts.get("case") or ""
                if classes.setdefault(key, parts["class"]) != parts["class"]:
                    message = f"has the class {parts['class']!r}, but the same case has {classes[key]!r} elsewhere"
                    raise Issue(
                        str(file), "error", message, "add {patient} to the pattern, or rename a file"
                    ).as_error()
    return classes


def _compile(pattern: str) -> re.Pattern[str]:
    """Return a pattern as a regular expression; a placeholder that is repeated stands for the same text."""
    expression, seen = "", set()
    for part in re.split(r"(\{[a-z]+\}|\*)", pattern.removeprefix("./")):
        name = part[1:-1]
        if part == "*":
            expression += "[^/]*"
        elif part.startswith("{") and name in PLACEHOLDERS:
            expression += f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+?)"
            seen.add(name)
        else:
            expression += re.escape(part)
    try:
        return re.compile(expression)
    except re.error as fault:
        raise DataError(f"the layout pattern {pattern!r} cannot be used ({fault}); correct it") from fault


def _missing(root: Path, pattern: str, patient: str, case: str) -> Path:
    """Return the path that a missing file would have."""
    return root / pattern.replace("{patient}", patient).replace("{case}", case)
