"""A study folder as one table: a row for each arm and label fraction, and the verdict."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dimlift.records.record import Record, load_records
from dimlift.records.study import Study
from dimlift.report.crossed import Estimate, estimate
from dimlift.report.measures import MEASURES, Measure, primary_measure
from dimlift.report.pairing import Key, pair, scores_of
from dimlift.report.verdict import LEVEL, Comparison, compare
from dimlift.report.wording import verdict_sentence


@dataclass(frozen=True)
class ClassResult:
    """One class in one row.

    Attributes:
        mean: over cases, folds and seeds; None if it was never defined.
        scored: number of scores in the mean.
        excluded: number of scores left out because both masks were empty.
        difference: against the reference, by itself: not corrected for the number of classes or arms.
    """

    name: str
    mean: float | None
    scored: int
    excluded: int
    difference: Estimate | None


@dataclass(frozen=True)
class Row:
    """One arm at one label fraction.

    Attributes:
        mean: over classes within a case, then over cases, folds and seeds.
        comparison: against the reference at the same fraction; None for the reference and where nothing pairs.
        others: means of the other measures.
        seconds: mean training time of a finished cell. peak_bytes: the largest of them. steps: their mean.
        finished, failed, planned: number of cells; planned is None if the arms' shares cannot be told.
    """

    arm: str
    fraction: float
    title: str
    description: str
    is_reference: bool
    mean: float | None
    classes: tuple[ClassResult, ...]
    comparison: Comparison | None
    others: dict[str, float | None]
    seconds: float | None
    peak_bytes: int | None
    steps: float | None
    parameters: int | None
    finished: int
    failed: int
    planned: int | None


@dataclass(frozen=True)
class Failure:
    """A cell that ended without a result, and why."""

    title: str
    fraction: float
    fold: int
    seed: int
    reason: str


@dataclass(frozen=True)
class Summary:
    """Everything the page and the command line say in numbers.

    Attributes:
        sentence: the verdict in one sentence.
        measure: what the verdict is about.
        excluded: scores of that measure left out because both masks were empty, over all rows.
        several_fractions: whether rows differ in label fraction, so that it must be shown.
    """

    title: str
    task: str
    sentence: str
    measure: Measure
    reference: str
    rows: tuple[Row, ...]
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]
    excluded: int
    finished: int
    failed: int
    planned: int
    several_fractions: bool


def summarise(folder: Path) -> Summary:
    """Read `folder/study.json` and `folder/records/*.json`, finished or not.

    Raises:
        DataError: if the folder holds no study, or a file in it cannot be read.
    """
    return summarise_records(Study.load(folder), load_records(folder / "records"))


def summarise_records(study: Study, records: Sequence[Record]) -> Summary:
    """The same, from what has been read already. Records of arms the study does not name are left out."""
    records = [record for record in records if record.arm in study.arms]
    finished = [record for record in records if record.status == "finished"]
    failed = [record for record in records if record.status == "failed"]
    measure = primary_measure(finished)
    fractions = sorted({*study.fractions, *(record.fraction for record in records)}) or [1.0]
    groups = {name: case.group for name, case in study.cases.items()}

    cells = [(arm, fraction) for fraction in fractions for arm in study.arms]
    scores = {
        (arm, fraction): scores_of((r for r in finished if (r.arm, r.fraction) == (arm, fraction)), measure.name)
        for arm, fraction in cells
    }
    comparisons = compare(
        {
            cell: pair(scores[cell], scores[study.reference, cell[1]], groups)
            for cell in cells
            if cell[0] != study.reference
        },
        measure.better,
    )
    share, left_over = divmod(study.planned, len(cells))
    rows = tuple(
        _row(study, measure, cell, records, scores, comparisons.get(cell), groups, None if left_over else share)
        for cell in cells
    )
    return Summary(
        title=study.title,
        task=study.task,
        sentence=verdict_sentence(study, measure, rows, len(finished)),
        measure=measure,
        reference=study.reference,
        rows=rows,
        failures=tuple(
            Failure(_title(study, r.arm), r.fraction, r.fold, r.seed, _reason(r))
            for r in sorted(failed, key=lambda r: (r.arm, r.fraction, r.fold, r.seed))
        ),
        notes=tuple(study.notes),
        excluded=sum(value is None for of_cell in scores.values() for value in of_cell.values()),
        finished=len(finished),
        failed=len(failed),
        planned=study.planned,
        several_fractions=len(fractions) > 1,
    )


def _row(
    study: Study,
    measure: Measure,
    cell: tuple[str, float],
    records: Sequence[Record],
    scores: dict[tuple[str, float], dict[Key, float | None]],
    comparison: Comparison | None,
    groups: dict[str, str],
    planned: int | None,
) -> Row:
    arm, fraction = cell
    own = [record for record in records if (record.arm, record.fraction) == cell]
    finished = [record for record in own if record.status == "finished"]
    is_reference = arm == study.reference
    reference = {} if is_reference else scores[study.reference, fraction]
    names = sorted({key[4] for of_cell in scores.values() for key in of_cell}, key=_label_order(study))
    by_case: dict[tuple[int, int, str], list[float]] = {}
    for (_, fold, seed, case, _), value in scores[cell].items():
        if value is not None:
            by_case.setdefault((fold, seed, case), []).append(value)
    return Row(
        arm=arm,
        fraction=fraction,
        title=_title(study, arm),
        description=study.arms[arm].description,
        is_reference=is_reference,
        mean=_mean([float(np.mean(values)) for values in by_case.values()]),
        classes=tuple(_class_result(name, scores[cell], reference, groups) for name in names),
        comparison=comparison,
        others={
            name: _mean([value for value in scores_of(finished, name).values() if value is not None])
            for name in MEASURES
            if name != measure.name and any(score.metric == name for r in records for score in r.scores)
        },
        seconds=_mean([record.seconds for record in finished]),
        peak_bytes=max((record.peak_bytes for record in finished), default=None),
        steps=_mean([record.steps for record in finished]),
        parameters=study.arms[arm].parameters,
        finished=len(finished),
        failed=len(own) - len(finished),
        planned=planned,
    )


def _class_result(
    name: str, own: dict[Key, float | None], reference: dict[Key, float | None], groups: dict[str, str]
) -> ClassResult:
    own, reference = ({k: v for k, v in scores.items() if k[4] == name} for scores in (own, reference))
    values = [value for value in own.values() if value is not None]
    pairs = pair(own, reference, groups)
    difference = estimate(pairs.differences, pairs.cases, pairs.seeds, LEVEL) if len(pairs.differences) else None
    return ClassResult(name, _mean(values), len(values), len(own) - len(values), difference)


def _label_order(study: Study) -> Callable[[str], tuple[int, str]]:
    labels = study.dataset.labels
    return lambda name: (labels.get(name, len(labels) + 1), name)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _title(study: Study, arm: str) -> str:
    return study.arms[arm].title or arm


def _reason(record: Record) -> str:
    return str(record.extra.get("error") or record.extra.get("reason") or "no reason was recorded")
