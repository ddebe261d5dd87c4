"""Check every input before the first is predicted: which cases can be used, and how they differ from training."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from dimlift.data.case import Case
from dimlift.data.issue import Issue, issue_from_error, raise_on_errors
from dimlift.data.preprocessing.training_range import TrainingRange
from dimlift.data.read_cache import CACHE_BYTES, ReadCache
from dimlift.errors import RunError
from dimlift.inference.departures import departure_issue, require_training_range
from dimlift.inference.memory_estimate import require_memory
from dimlift.inference.predictor import Predictor
from dimlift.progress import Event, Progress


class UsableCases(NamedTuple):
    """The cases that can be predicted.

    Attributes:
        cases: in the order of the inputs.
        warnings: sentences about a case, by its name.
        read: returns the content of a file, mostly without reading it again.
        training_range: of all runs together; None if none of them states it.
    """

    cases: list[Case]
    warnings: dict[str, list[str]]
    read: Callable[[Path], Any]
    training_range: TrainingRange | None


def check_cases(
    members: Sequence[Predictor],
    cases: Sequence[Case],
    progress: Progress,
    *,
    max_memory: int | None = None,
    strict: bool = False,
    on_skip: Callable[[Issue], None] | None = None,
) -> UsableCases:
    """Read every file, and compare its intensities, spacing, extent and orientation with the training cases.

    Raises:
        DataError: if a case cannot be used, or under `strict` if it lies outside the range of the training cases. With
            `on_skip` only if no case is left, or if a fault belongs to no single case.
        RunError: if a case would take more memory than allowed.
    """
    first, modality = members[0], members[0].modality
    ranges = [member.training_range for member in members if member.training_range is not None]
    training_range = TrainingRange.union(ranges) if ranges else None
    if training_range is None:
        require_training_range(strict)
    issues: list[Issue] = []
    estimates = modality.estimate_memory(
        first, cases, lambda case, error: issues.append(issue_from_error(error, case.images[0]))
    )
    if max_memory is not None and not (estimates or issues):
        raise RunError("max_memory is for the segmentation of volumes; leave it out")
    if estimates:
        if max_memory is not None:
            require_memory(estimates, max_memory)
        progress(Event("predict", message=str(estimates[0])))
    read, measured = modality.file_reader(first.preprocessing), {}
    files = ReadCache(read, modality.file_bytes, math.inf if len(cases) == 1 else CACHE_BYTES)

    def read_and_measure(path: Path) -> Any:
        content = files.peek(path)
        measured[path] = modality.measure_file(content)
        return content

    owners, warnings = _owners(cases), defaultdict[str, list[str]](list)
    broken = {_owner(issue, owners) for issue in issues}
    issues += modality.check_inputs(
        members, [case for case in cases if case.name not in broken], read_and_measure, progress
    )
    for issue in issues:
        if issue.level == "error":
            broken.add(_owner(issue, owners))
        elif (owner := _owner(issue, owners)) is not None:
            warnings[owner].append(str(issue))
        else:
            progress(Event("check", fraction=1.0, message=f"warning: {issue}"))
    for case in cases:
        if training_range is None or case.name in broken:
            continue
        facts = modality.input_facts(first.preprocessing, [measured.get(path) for path in case.images])
        if departures := training_range.departures(facts):
            warnings[case.name] += departures
            if strict:
                issues.append(departure_issue(departures, str(case.images[0])))
    return UsableCases(leave_out_broken(cases, issues, on_skip), warnings, files.pop, training_range)


def leave_out_broken(
    cases: Sequence[Case], issues: Sequence[Issue], on_skip: Callable[[Issue], None] | None
) -> list[Case]:
    """Return the cases without an error, after calling `on_skip` once for each other case.

    Raises:
        DataError: if there is an error and no `on_skip`, no case is left, or an error belongs to no single case.
    """
    owners, by_case = _owners(cases), defaultdict(list)
    for issue in issues:
        if issue.level == "error":
            by_case[_owner(issue, owners)].append(issue)
    usable = [case for case in cases if case.name not in by_case]
    if on_skip is None or not usable or None in by_case:
        raise_on_errors(issues)
        return usable
    for first, *others in by_case.values():
        more = f" (and {len(others)} more)" if others else ""
        on_skip(replace(first, message=f"{first.message}{more}"))
    return usable


def _owners(cases: Sequence[Case]) -> dict[str, str]:
    """Return the name of the case by each of its files."""
    return {str(image): case.name for case in cases for image in case.images}


def _owner(issue: Issue, owners: Mapping[str, str]) -> str | None:
    """Return the name of the case that an issue is about; None for one about no single case."""
    places = [issue.file, *issue.file.split(", "), *map(str, Path(issue.file).parents)]  # a slice lies in its series
    return next((owners[place] for place in places if place in owners), None)
