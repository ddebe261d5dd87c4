"""The JSON beside each predicted file: which weights predicted it, of how much, and what was unusual about the case."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dimlift.data.case import Case
from dimlift.errors import RunError
from dimlift.inference.coverage import Coverage
from dimlift.records.json_file import read_json
from dimlift.records.record import write_json

SCHEMA = 1
_KEYS = frozenset({"schema", "dimlift", "case", "weights_sha256", "warnings", "coverage"})


@dataclass(frozen=True)
class PredictionReport:
    """What is known about one prediction.

    Attributes:
        case: name of the case.
        inputs: names of its files.
        weights_sha256: SHA-256 of the weights of each run.
        warnings: sentences about the files, and about what lies outside the range of the training cases.
        coverage: windows and predicted voxels or points.
        compared_with_training: whether the range of the training cases was known.
        foreground_ml: predicted volume of each class in millilitres.
    """

    case: str
    inputs: Sequence[str]
    weights_sha256: Sequence[str]
    warnings: Sequence[str]
    coverage: Coverage
    compared_with_training: bool
    foreground_ml: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file."""
        return {
            "schema": SCHEMA,
            "dimlift": version("dimlift"),
            "case": self.case,
            "inputs": list(self.inputs),
            "weights_sha256": list(self.weights_sha256),
            "warnings": list(self.warnings),
            "compared_with_training": self.compared_with_training,
            "coverage": self.coverage.to_json(),
            "foreground_ml": self.foreground_ml,
        }

    def save(self, path: Path) -> Path:
        """Write the file atomically."""
        return write_json(path, self.to_json())


def report_path(output: Path, suffixes: Sequence[str]) -> Path:
    """Return the file beside an output: its name with .json in place of the suffix.

    Args:
        output: file of labels.
        suffixes: that its format may have, such as ".nii.gz" and ".nii".
    """
    known = [suffix for suffix in suffixes if output.name.lower().endswith(suffix)]
    suffix = max(known, key=len) if known else output.suffix
    return output.with_name(f"{output.name[: len(output.name) - len(suffix)]}.json")


def require_free_reports(paths: Sequence[Path], cases: Sequence[Case]) -> None:
    """Check that no report would replace a file other than an earlier report.

    Raises:
        RunError: naming the file.
    """
    inputs = {image.resolve() for case in cases for image in case.images}
    for path in paths:
        if path.resolve() in inputs or (path.exists() and not _is_report(path)):
            raise RunError(
                f"{path} exists and is no report of an earlier prediction; the report beside the labels would replace "
                "it, so give another output"
            )


def _is_report(path: Path) -> bool:
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.keys() >= _KEYS
