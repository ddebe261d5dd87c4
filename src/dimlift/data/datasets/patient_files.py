"""Files of a folder tree with one folder per patient (and session): the role of each in its folder.

The role of a file is its name without that of the patient: of `BraTS20_001/BraTS20_001_flair.nii.gz` it is `flair`, of
`p1/masks/liver.nii.gz` it is `masks/liver`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from os.path import commonprefix
from pathlib import Path

from dimlift.data.datasets.file_roles import is_mask_name, is_role_name, without_mask_words, without_prefix
from dimlift.data.datasets.image_label_folders import PAIR_FOLDERS
from dimlift.data.io.dicom.series import is_series
from dimlift.data.io.readers import list_volumes, volume_stem

_MAX_DEPTH = 4


@dataclass(frozen=True)
class PatientFile:
    """One file of a patient.

    Attributes:
        path: the file.
        role: its name without that of the patient; "" where nothing is left.
    """

    path: Path
    role: str

    @property
    def is_mask(self) -> bool:
        """Whether the role has a word for masks."""
        return any(is_mask_name(part) for part in self.role.split("/"))

    @property
    def target(self) -> str:
        """The role without words for masks and images: the image that a mask belongs to (`frame01_gt` is `frame01`)."""
        return without_mask_words(self.role)


@dataclass(frozen=True)
class PatientFolder:
    """The files of one patient, or of one session.

    Attributes:
        folders: path relative to the root, folder by folder.
        files: sorted by path.
    """

    folders: tuple[str, ...]
    files: tuple[PatientFile, ...]

    @property
    def images(self) -> list[PatientFile]:
        """Files that are no masks."""
        return [file for file in self.files if not file.is_mask]

    @property
    def masks(self) -> list[PatientFile]:
        """Files that are masks by their names."""
        return [file for file in self.files if file.is_mask]


def find_patient_folders(root: Path) -> list[PatientFolder]:
    """Return the folders below the root that hold volumes; `images/` or `masks/` inside one belong to it."""
    files: dict[tuple[str, ...], list[tuple[tuple[str, ...], Path]]] = {}
    _collect(root, (), files)
    found = [(folders, _with_roles(folders, inside)) for folders, inside in sorted(files.items()) if folders]
    counts = Counter(role for _, named in found for role in {file.role for file in named})
    if len(found) > 1 and max(counts.values(), default=0) < 2:  # names are of the scan, not of the folder
        found = [(folders, _without_common_prefix(named)) for folders, named in found]
    return [PatientFolder(folders, tuple(named)) for folders, named in found]


def _collect(
    folder: Path, parts: tuple[str, ...], files: dict[tuple[str, ...], list[tuple[tuple[str, ...], Path]]]
) -> None:
    owner = len(parts)
    while owner > 1 and is_role_name(parts[owner - 1]):
        owner -= 1
    if owner == 1 and parts[0].lower() in PAIR_FOLDERS:
        owner = 0
    for file in list_volumes(folder):
        files.setdefault(parts[:owner], []).append((parts[owner:], file))
    if len(parts) >= _MAX_DEPTH:
        return
    for inside in sorted(folder.iterdir()):
        if inside.is_dir() and not inside.name.startswith(".") and not is_series(inside):
            _collect(inside, (*parts, inside.name), files)


def _with_roles(folders: tuple[str, ...], inside: Sequence[tuple[tuple[str, ...], Path]]) -> list[PatientFile]:
    prefixes = sorted({*folders, "_".join(folders), "-".join(folders)}, key=len, reverse=True)
    named = []
    for below, file in inside:
        stem = volume_stem(file)
        for prefix in prefixes:
            stem = without_prefix(stem, prefix)
        named.append(PatientFile(file, "/".join(part for part in (*below, stem) if part)))
    return named


def _without_common_prefix(files: list[PatientFile]) -> list[PatientFile]:
    """Return the files without what their names begin with, up to a separator (`20200131_t1`, `20200131_seg`)."""
    stems = [file.role.rpartition("/")[2] for file in files]
    shared = commonprefix(stems) if len(stems) > 1 else ""  # noqa: RUF071 - names, not paths
    end = max((shared.rfind(mark) for mark in "_-. "), default=-1) + 1
    if not end:
        return files
    return [
        PatientFile(file.path, "/".join(filter(None, (file.role.rpartition("/")[0], stem[end:]))))
        for file, stem in zip(files, stems, strict=True)
    ]
