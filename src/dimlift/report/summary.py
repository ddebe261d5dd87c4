"""Summary of a study folder: one row per arm and training size, and the verdict."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dimlift.metrics.scores import ONE_EMPTY
from dimlift.records.printable_text import printable
from dimlift.records.record import RunRecord, load_records
from dimlift.records.study import Study
from dimlift.records.train_size import TrainSize, sorted_sizes
from dimlift.report.confidence_interval import crossed_interval
from dimlift.report.crossing_point import Crossing, LabelLevel, find_crossing
from dimlift.report.duplicate_cases import duplicate_cases, merge_groups
from dimlift.report.label_efficiency import add_label_savings
from dimlift.report.measures import MEASURES, primary_measure
from dimlift.report.paired_differences import PairedDifferences, Scores, collect_scores, paired_differences
from dimlift.report.phrases import join_names, plural, verdict_sentence
from dimlift.report.summary_types import ClassResult, FailedRun, Summary, SummaryRow
from dimlift.report.verdict import LEVEL, OPEN, Comparison, VerdictRules, compare_arms

RowKey = tuple[str, TrainSize]
"""Arm and training size of a row."""


def summarise(folder: Path, rules: VerdictRules | None = None) -> Summary:
    """Summarise a study from study.json and records/*.json, finished or not.

    Args:
        rules: margin and failures to allow for; those of the study by default.

    Raises:
        DataError: if the folder holds no study, or a file in it cannot be read.
    """
    return summarise_records(Study.load(folder), load_records(folder / "records"), rules)


def study_rules(
    folder: Path,
    margin: float | None = None,
    unseen_failure: float | None = None,
    unseen_collapse: float | None = None,
) -> VerdictRules:
    """Return the rules in study.json, except for those that are given.

    Raises:
        DataError: if the folder holds no study.
    """
    rules = _rules(Study.load(folder))
    return replace(
        rules,
        margin=rules.margin if margin is None else margin,
        unseen_failure=rules.unseen_failure if unseen_failure is None else unseen_failure,
        unseen_collapse=rules.unseen_collapse if unseen_collapse is None else unseen_collapse,
    )


def _rules(study: Study) -> VerdictRules:
    return VerdictRules(study.margin, study.unseen_failure, study.unseen_collapse, study.analyses)


def summarise_records(study: Study, records: Sequence[RunRecord], rules: VerdictRules | None = None) -> Summary:
    """Summarise a study and its records. Records of arms that are not part of the study are ignored."""
    records = [record for record in records if record.arm in study.arms]
    finished = [record for record in records if record.status == "finished"]
    failed = [record for record in records if record.status == "failed"]
    measure = primary_measure(finished)
    rules = rules or _rules(study)
    sizes = _sizes(study, records)
    duplicates = duplicate_cases(finished, measure.name)
    groups = merge_groups({name: case.group for name, case in study.cases.items()}, duplicates)

    keys = [(arm, size) for size in sizes for arm in study.arms]
    scores = _scores_by_row(finished, measure.name, keys)
    others = {name: _scores_by_row(finished, name, keys) for name in MEASURES if name != measure.name}
    worst = _scores_by_row(finished, ONE_EMPTY, keys)
    class_names = sorted({score.class_ for row in scores.values() for score in row}, key=_label_order(study))
    pairs = {
        (arm, size): paired_differences(scores[arm, size], scores[study.reference, size], groups)
        for arm, size in keys
        if arm != study.reference
    }
    comparisons = compare_arms(
        pairs,
        measure.better,
        rules if rules.margin is not None else replace(rules, margin=measure.relevant_difference),
        "comparisons" if len(sizes) > 1 else "arms",
    )
    planned, remainder = divmod(study.planned, len(keys))
    rows = add_label_savings(
        [
            _row(
                study,
                key,
                [record for record in records if (record.arm, record.train_size) == key],
                scores[key],
                {} if key[0] == study.reference else scores[study.reference, key[1]],
                {name: list(of_measure[key].values()) for name, of_measure in others.items()},
                worst[key],
                comparisons.get(key),
                class_names,
                groups,
                None if remainder else planned,
            )
            for key in keys
        ],
        measure.better,
    )
    return Summary(
        title=study.title,
        task=study.task,
        sentence=verdict_sentence(study, measure, rows, len(finished)),
        measure=measure,
        reference=study.reference,
        rows=rows,
        failures=tuple(
            FailedRun(_title(study, r.arm), r.train_size, r.fold, r.seed, _reason(r))
            for r in sorted(failed, key=lambda r: (r.arm, sizes.index(r.train_size), r.fold, r.seed))
        ),
        notes=(*study.notes, *_notes_on_analyses(study.analyses), *_notes_on_sample(rows, duplicates)),
        excluded=sum(value is None for row in scores.values() for value in row.values()),
        worst=sum(_count_marked(row) for row in worst.values()),
        finished=len(finished),
        failed=len(failed),
        planned=study.planned,
        crossings=tuple(_crossings(rows, pairs, measure.better)),
    )


def _crossings(
    rows: Sequence[SummaryRow], pairs: Mapping[RowKey, PairedDifferences], better: int
) -> Iterator[tuple[str, Crossing]]:
    """Yield title and crossing point of each arm that was compared at two or more numbers of labelled cases."""
    by_arm: dict[str, dict[float, SummaryRow]] = {}
    for row in rows:
        count = row.training_cases or row.train_size.count
        if row.comparison is not None and count:
            by_arm.setdefault(row.arm, {}).setdefault(float(count), row)
    for arm, by_count in by_arm.items():
        if len(by_count) > 1:
            levels = [
                LabelLevel(count, pairs[arm, row.train_size], row.comparison.verdict)
                for count, row in by_count.items()
                if row.comparison
            ]
            yield next(iter(by_count.values())).title, find_crossing(levels, better)


def _notes_on_analyses(analyses: int) -> list[str]:
    if analyses == 1:
        return []
    return [
        f"The study stops once every verdict is decided, at one of {analyses} planned analyses: p values are "
        f"multiplied by {analyses}, the intervals are not."
    ]


def _notes_on_sample(rows: Sequence[SummaryRow], duplicates: Sequence[tuple[str, ...]]) -> list[str]:
    """Return what limits the conclusions: cases listed twice, and runs that failed."""
    notes = [f"{join_names(cases)} have the same scores in every run and count as one case." for cases in duplicates]
    for row in rows:
        if row.failed and row.comparison and row.comparison.verdict != OPEN:
            notes.append(
                f"{plural(row.failed, 'run')} of {row.title} failed; the difference includes the finished runs only."
            )
    return notes


def _sizes(study: Study, records: Sequence[RunRecord]) -> list[TrainSize]:
    """Return the training sizes from the smallest to the largest, by number of training cases if it is known."""
    sizes = sorted_sizes([*study.train_sizes, *(record.train_size for record in records)]) or [TrainSize(1.0)]
    cases: dict[TrainSize, list[int]] = {size: [size.count] if size.count else [] for size in sizes}
    for record in records:
        if record.extra.get("training_cases"):
            cases[record.train_size].append(len(record.extra["training_cases"]))
    if all(cases.values()):
        sizes.sort(key=lambda size: sum(cases[size]) / len(cases[size]))  # a stable sort keeps the order of equal sizes
    return sizes


def _scores_by_row(records: Sequence[RunRecord], metric: str, keys: Sequence[RowKey]) -> dict[RowKey, Scores]:
    """Return the scores of one metric for each arm and training size."""
    records_of: dict[RowKey, list[RunRecord]] = {key: [] for key in keys}
    for record in records:
        records_of[record.arm, record.train_size].append(record)
    return {key: collect_scores(of_row, metric) for key, of_row in records_of.items()}


def _row(
    study: Study,
    key: RowKey,
    records: Sequence[RunRecord],
    scores: Scores,
    reference: Scores,
    others: dict[str, list[float | None]],
    worst: Scores,
    comparison: Comparison | None,
    class_names: Sequence[str],
    groups: dict[str, str],
    planned: int | None,
) -> SummaryRow:
    arm, size = key
    finished = [record for record in records if record.status == "finished"]
    own = paired_differences(scores, dict.fromkeys(scores, 0.0), groups)  # differences to zero: the scores themselves
    by_case: dict[tuple[int, int, str], list[float | None]] = {}
    for score, value in scores.items():
        by_case.setdefault((score.fold, score.seed, score.case), []).append(value)
    return SummaryRow(
        arm=arm,
        train_size=size,
        title=_title(study, arm),
        description=study.arms[arm].description,
        is_reference=arm == study.reference,
        mean=_mean([_mean(values) for values in by_case.values()]),
        classes=tuple(_class_result(name, scores, reference, worst, groups) for name in class_names),
        comparison=comparison,
        other_measures={name: _mean(values) for name, values in others.items() if values},
        undefined={name: sum(value is None for value in values) for name, values in others.items()},
        seconds=_mean([None if record.extra.get("external") else record.seconds for record in finished]),
        peak_bytes=max((record.peak_bytes for record in finished if record.peak_bytes), default=None),
        steps=_mean([None if record.extra.get("external") else record.steps for record in finished]),
        parameters=study.arms[arm].parameters,
        finished=len(finished),
        failed=len(records) - len(finished),
        planned=planned,
        own_interval=crossed_interval(own.differences, own.cases, own.seeds, LEVEL) if len(own.differences) else None,
        training_cases=_mean([len(r.extra["training_cases"]) for r in finished if r.extra.get("training_cases")]),
        cpu_seconds=_mean([r.extra.get("cpu_seconds") for r in finished]),
        gpu_bytes=max((r.extra["gpu_bytes"] for r in finished if r.extra.get("gpu_bytes")), default=None),
        joules=_mean([r.extra.get("joules") for r in finished]),
    )


def _class_result(name: str, own: Scores, reference: Scores, worst: Scores, groups: dict[str, str]) -> ClassResult:
    own, reference, worst = (
        {k: v for k, v in scores.items() if k.class_ == name} for scores in (own, reference, worst)
    )
    undefined = sum(value is None for value in own.values())
    pairs = paired_differences(own, reference, groups)
    found = len(pairs.differences) > 0
    difference = crossed_interval(pairs.differences, pairs.cases, pairs.seeds, LEVEL) if found else None
    mean, scored = _mean(list(own.values())), len(own) - undefined
    return ClassResult(name, mean, scored, undefined, _count_marked(worst), difference)


def _label_order(study: Study) -> Callable[[str], tuple[int, str]]:
    labels = study.dataset.labels
    return lambda name: (labels.get(name, len(labels) + 1), name)


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the defined values."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _count_marked(marks: Scores) -> int:
    """Return the number of scores equal to 1."""
    return sum(value == 1 for value in marks.values())


def _title(study: Study, arm: str) -> str:
    return printable(study.arms[arm].title or arm)  # matplotlib draws no undecodable bytes


def _reason(record: RunRecord) -> str:
    return str(record.extra.get("reason") or "no reason was recorded")
