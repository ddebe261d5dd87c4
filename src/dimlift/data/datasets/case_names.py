"""Case names and patients from paths, and the check of names that a table or list gives."""

from collections.abc import Sequence
from pathlib import Path, PurePath

from dimlift.data.case import Case
from dimlift.data.datasets.file_roles import is_session_name
from dimlift.data.io.readers import volume_stem
from dimlift.data.issue import Issue


def name_cases(paths: Sequence[PurePath]) -> list[tuple[str, str]]:
    """Return name and group of each case from the path of its image, relative to the root.

    The name is the file name without suffix. Where two files have the same name, the folders are put in front
    (`p0/img.nii.gz` is `p0_img`), and the group is the folder of the patient, without folders of sessions.
    """
    stems = [volume_stem(path.name) for path in paths]
    if len(set(stems)) == len(stems):
        return [(stem, stem) for stem in stems]
    folders = [[part for part in path.parent.parts if part not in ("/", ".", "..")] for path in paths]
    shared = 0
    while all(len(parts) > shared for parts in folders) and len({parts[shared] for parts in folders}) == 1:
        shared += 1
    named = []
    for stem, parts in zip(stems, folders, strict=True):
        own = parts[shared:]
        name = "_".join([*own, stem])
        named.append((name, patient_of(own) or name))
    return named


def patient_of(folders: Sequence[str]) -> str:
    """Return the folders of a patient as one name, up to the first one that is a session."""
    end = next((index for index, part in enumerate(folders) if index and is_session_name(part)), len(folders))
    return "_".join(folders[:end])


def require_valid_names(file: Path, cases: Sequence[Case], fix: str) -> None:
    """Check that every case name is unique and a valid file name of a prediction.

    Raises:
        DataError: naming the first case that is not.
    """
    names: set[str] = set()
    for case in cases:
        if not case.name.isprintable() or {"/", "\\"} & set(case.name):
            message = f"has the case name {case.name!r}, which is not a valid file name for predictions"
            raise Issue(str(file), "error", message, "use a name without / or \\").as_error()
        if case.name in names:
            raise Issue(str(file), "error", f"has two rows for the case {case.name!r}", fix).as_error()
        names.add(case.name)
