"""File formats by suffix. A new format is one module with a `read_volume` and one line here."""

from collections.abc import Callable
from pathlib import Path

from dimlift.data import nifti
from dimlift.data.findings import Finding
from dimlift.data.volume import Volume

READERS: dict[str, Callable[[str | Path], Volume]] = {".nii.gz": nifti.read_volume, ".nii": nifti.read_volume}


def suffix_of(path: str | Path) -> str | None:
    """The suffix of a file that can be read (".nii.gz"), None for any other."""
    return next((suffix for suffix in READERS if Path(path).name.lower().endswith(suffix)), None)


def stem_of(path: str | Path) -> str:
    """The name of a file without its folder and without ".nii.gz" and the like."""
    name = Path(path).name
    return name[: -len(suffix_of(path) or "") or None]


def read_file(path: str | Path) -> Volume:
    """Read a volume in whatever format its name says.

    Raises:
        DataError: if the suffix is unknown; or what the format's reader raises.
    """
    suffix = suffix_of(path)
    if suffix is None:
        found = f"is no file dimlift can read ({', '.join(READERS)})"
        raise Finding(str(path), "error", found, "convert it to .nii.gz").as_error()
    return READERS[suffix](path)


def volumes_in(folder: Path) -> list[Path]:
    """The readable files of a folder, sorted; hidden ones (among them macOS's `._` twins) left out."""
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if suffix_of(path) and not path.name.startswith(".") and path.is_file()
    )
