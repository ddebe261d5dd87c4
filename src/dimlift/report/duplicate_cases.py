"""Cases that a dataset contains twice under different names: they count as one."""

from collections.abc import Iterable, Sequence

from dimlift.records.record import RunRecord

DISTINCT_VALUES = 3
"""Different scores that cases have to share. Accuracies of 0 and 1 or a constant metric agree without being copies."""


def duplicate_cases(records: Iterable[RunRecord], metric: str) -> list[tuple[str, ...]]:
    """Return groups of cases whose scores are identical to the last digit in all finished runs.

    Two different images never have the same Dice in every run and class, but one image listed twice does. It would
    count as two independent cases.
    """
    scores: dict[str, dict[tuple[str, str], float | None]] = {}
    for record in records:
        if record.status == "finished":
            for score in record.scores:
                if score.metric == metric:
                    scores.setdefault(score.case, {})[record.run_id, score.class_] = score.value
    groups: dict[frozenset[tuple[tuple[str, str], float | None]], list[str]] = {}
    for case, values in scores.items():
        if len({value for value in values.values() if value is not None}) >= DISTINCT_VALUES:
            groups.setdefault(frozenset(values.items()), []).append(case)
    return [tuple(sorted(cases)) for cases in groups.values() if len(cases) > 1]


def merge_groups(groups: dict[str, str], duplicates: Sequence[Sequence[str]]) -> dict[str, str]:
    """Return the group of each case after duplicates, and the groups they belong to, were united."""
    merged = dict(groups)
    for cases in duplicates:
        first = merged.get(cases[0]) or cases[0]
        for case in cases:
            old = merged.get(case)
            merged[case] = first
            if old:
                merged |= {name: first for name, group in merged.items() if group == old}
    return merged
