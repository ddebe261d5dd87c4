"""A study folder as one table: a row for each arm and label fraction, and the verdict."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from dimlift.metrics.scores import ONE_EMPTY
from dimlift.records.record import Record, load_records
from dimlift.records.study import Study
from dimlift.report.label_efficiency import with_worth
from dimlift.report.measures import MEASURES, primary_measure
from dimlift.report.mixed_effects import estimate
from dimlift.report.paired_differences import Key, pair, scores_of
from dimlift.report.phrases import verdict_sentence
from dimlift.report.summary_types import ClassResult, Failure, Row, Summary
from dimlift.report.verdict import LEVEL, Comparison, compare

__all__ = ["ClassResult", "Failure", "Row", "Summary", "summarise", "summarise_records"]

Cell = tuple[str, float]
"""(arm, label fraction): what a row is about"""


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
    scores = _by_cell(finished, measure.name, cells)
    others = {name: _by_cell(finished, name, cells) for name in MEASURES if name != measure.name}
    worst = _by_cell(finished, ONE_EMPTY, cells)
    class_names = sorted({key[4] for of_cell in scores.values() for key in of_cell}, key=_label_order(study))
    comparisons = compare(
        {
            cell: pair(scores[cell], scores[study.reference, cell[1]], groups)
            for cell in cells
            if cell[0] != study.reference
        },
        measure.better,
    )
    share, left_over = divmod(study.planned, len(cells))
    rows = with_worth(
        [
            _row(
                study,
                cell,
                [record for record in records if (record.arm, record.fraction) == cell],
                scores[cell],
                {} if cell[0] == study.reference else scores[study.reference, cell[1]],
                {name: list(of_measure[cell].values()) for name, of_measure in others.items()},
                worst[cell],
                comparisons.get(cell),
                class_names,
                groups,
                None if left_over else share,
            )
            for cell in cells
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
            Failure(_title(study, r.arm), r.fraction, r.fold, r.seed, _reason(r))
            for r in sorted(failed, key=lambda r: (r.arm, r.fraction, r.fold, r.seed))
        ),
        notes=tuple(study.notes),
        excluded=sum(value is None for of_cell in scores.values() for value in of_cell.values()),
        worst=sum(_count(of_cell) for of_cell in worst.values()),
        finished=len(finished),
        failed=len(failed),
        planned=study.planned,
        several_fractions=len(fractions) > 1,
    )


def _by_cell(records: Sequence[Record], metric: str, cells: Sequence[Cell]) -> dict[Cell, dict[Key, float | None]]:
    """The scores of one metric, for each arm at each fraction."""
    own: dict[Cell, list[Record]] = {cell: [] for cell in cells}
    for record in records:
        own[record.arm, record.fraction].append(record)
    return {cell: scores_of(of_cell, metric) for cell, of_cell in own.items()}


def _row(
    study: Study,
    cell: Cell,
    records: Sequence[Record],
    scores: dict[Key, float | None],
    reference: dict[Key, float | None],
    others: dict[str, list[float | None]],
    worst: dict[Key, float | None],
    comparison: Comparison | None,
    class_names: Sequence[str],
    groups: dict[str, str],
    planned: int | None,
) -> Row:
    arm, fraction = cell
    finished = [record for record in records if record.status == "finished"]
    own = pair(scores, dict.fromkeys(scores, 0.0), groups)  # against zero: the scores themselves
    by_case: dict[tuple[int, int, str], list[float | None]] = {}
    for (_, fold, seed, case, _), value in scores.items():
        by_case.setdefault((fold, seed, case), []).append(value)
    return Row(
        arm=arm,
        fraction=fraction,
        title=_title(study, arm),
        description=study.arms[arm].description,
        is_reference=arm == study.reference,
        mean=_mean([_mean(values) for values in by_case.values()]),
        classes=tuple(_class_result(name, scores, reference, worst, groups) for name in class_names),
        comparison=comparison,
        others={name: _mean(values) for name, values in others.items() if values},
        left_out={name: sum(value is None for value in values) for name, values in others.items()},
        seconds=_mean([None if record.extra.get("external") else record.seconds for record in finished]),
        peak_bytes=max((record.peak_bytes for record in finished if record.peak_bytes), default=None),
        steps=_mean([None if record.extra.get("external") else record.steps for record in finished]),
        parameters=study.arms[arm].parameters,
        finished=len(finished),
        failed=len(records) - len(finished),
        planned=planned,
        own=estimate(own.differences, own.cases, own.seeds, LEVEL) if len(own.differences) else None,
        training_cases=_mean([len(r.extra["training_cases"]) for r in finished if r.extra.get("training_cases")]),
        cpu_seconds=_mean([r.extra.get("cpu_seconds") for r in finished]),
        gpu_bytes=max((r.extra["gpu_bytes"] for r in finished if r.extra.get("gpu_bytes")), default=None),
        joules=_mean([r.extra.get("joules") for r in finished]),
    )


def _class_result(
    name: str,
    own: dict[Key, float | None],
    reference: dict[Key, float | None],
    worst: dict[Key, float | None],
    groups: dict[str, str],
) -> ClassResult:
    own, reference, worst = ({k: v for k, v in scores.items() if k[4] == name} for scores in (own, reference, worst))
    undefined = sum(value is None for value in own.values())
    pairs = pair(own, reference, groups)
    difference = estimate(pairs.differences, pairs.cases, pairs.seeds, LEVEL) if len(pairs.differences) else None
    return ClassResult(name, _mean(list(own.values())), len(own) - undefined, undefined, _count(worst), difference)


def _label_order(study: Study) -> Callable[[str], tuple[int, str]]:
    labels = study.dataset.labels
    return lambda name: (labels.get(name, len(labels) + 1), name)


def _mean(values: Sequence[float | None]) -> float | None:
    """Mean of what is defined."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _count(marks: dict[Key, float | None]) -> int:
    """How many scores are marked with 1."""
    return sum(value == 1 for value in marks.values())


def _title(study: Study, arm: str) -> str:
    return study.arms[arm].title or arm


def _reason(record: Record) -> str:
    return str(record.extra.get("error") or record.extra.get("reason") or "no reason was recorded")
