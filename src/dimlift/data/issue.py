"""A problem in a data file. Readers raise it as an error, `check_dataset` lists it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dimlift.errors import DataError, DimliftError

Level = Literal["error", "warning"]

_MAX_SHOWN = 10


@dataclass(frozen=True)
class Issue:
    """One problem.

    Attributes:
        file: path of the file or folder.
        level: an "error" stops training and prediction, a "warning" does not.
        message: what was found and what is expected.
        fix: what to do about it.
    """

    file: str
    level: Level
    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.file}: {self.message}; {self.fix}"

    def as_error(self, kind: type[DataError] = DataError) -> DataError:
        """Return an exception that carries this issue; `issue_from_error` recovers it."""
        error = kind(str(self))
        error.__dict__["issue"] = self
        return error


def issue_from_error(error: DimliftError, file: object = "") -> Issue:
    """Return the issue an error was made from, or a new one that carries the error's message."""
    issue = error.__dict__.get("issue")
    if isinstance(issue, Issue):
        return issue
    message, _, fix = str(error).removeprefix(str(file)).lstrip(": ").rpartition("; ")
    if not message:
        message, fix = fix, "repair or replace the file"
    return Issue(str(file), "error", message, fix)


def raise_on_errors(issues: Sequence[Issue]) -> None:
    """Raise if any issue is an error.

    Raises:
        DataError: listing the first ten errors and their fixes.
    """
    errors = [issue for issue in issues if issue.level == "error"]
    if not errors:
        return
    lines = [str(issue) for issue in errors[:_MAX_SHOWN]]
    if len(errors) > _MAX_SHOWN:
        lines.append(f"... and {len(errors) - _MAX_SHOWN} more; `dimlift check` lists them all")
    raise DataError("\n".join([f"the data has {len(errors)} error{'s' if len(errors) > 1 else ''}:", *lines]))
