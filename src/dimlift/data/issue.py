"""One thing that is wrong with one file: what, and the way out. Readers raise it, `check` lists it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dimlift.errors import DataError

Level = Literal["error", "warning"]

_SHOWN = 10


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        file: the file (or folder) it is about.
        level: an "error" stops training and prediction, a "warning" does not.
        finding: what was found and what was wanted.
        remedy: the way out.
    """

    file: str
    level: Level
    finding: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}: {self.finding}; {self.remedy}"

    def as_error(self, kind: type[DataError] = DataError) -> DataError:
        """This finding as an exception to raise; `finding_of` gets it back."""
        error = kind(str(self))
        error.__dict__["finding"] = self
        return error


def finding_of(error: DataError, file: object = "") -> Finding:
    """The finding an error was made from; for other errors, one that carries the whole message."""
    finding = error.__dict__.get("finding")
    if isinstance(finding, Finding):
        return finding
    return Finding(str(file), "error", str(error), "repair or replace the file")


def raise_on_errors(findings: Sequence[Finding]) -> None:
    """Stop if any finding is an error.

    Raises:
        DataError: listing the first ten errors with their remedies.
    """
    errors = [finding for finding in findings if finding.level == "error"]
    if not errors:
        return
    lines = [str(finding) for finding in errors[:_SHOWN]]
    if len(errors) > _SHOWN:
        lines.append(f"... and {len(errors) - _SHOWN} more; `dimlift check` lists them all")
    raise DataError("\n".join([f"the data has {len(errors)} error{'s' if len(errors) > 1 else ''}:", *lines]))
