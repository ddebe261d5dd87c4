"""Rounds of pseudo-labels: a teacher labels, a student begins anew, labels refine it, and it teaches the next round.

Kienzle et al., 2022, https://arxiv.org/abs/2206.15073. Cross-validation keeps a line of teachers for each fold, so that
no volume is scored by a network any of whose teachers learnt its label.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dimlift.data.case import Case
from dimlift.inference.predictor import Trained
from dimlift.progress import Progress, silent
from dimlift.records.record import Record
from dimlift.studies.self_training.config import StagesConfig
from dimlift.studies.self_training.pseudo_label import OnlyBackground, pseudo_labelled
from dimlift.studies.self_training.students import Student
from dimlift.studies.train import train


@dataclass(frozen=True)
class Row:
    """What one stage, or one of its rounds, came to.

    Attributes:
        dice: mean over classes and labelled volumes, each scored by the fold that did not learn from it.
        seconds: of training.
        kept: whether later stages build on it.
        note: why it ended here, if it did.
    """

    stage: str
    round: int
    dice: float | None
    seconds: float
    kept: bool = True
    note: str = ""


@dataclass(frozen=True)
class Line:
    """The best networks so far.

    Attributes:
        teachers: weights folder of each fold's network.
        students: what each was refined from; None where that is the initial weights.
    """

    dice: float
    teachers: Mapping[int, Path]
    students: Mapping[int, Path | None]


def over_folds(
    config: StagesConfig,
    out: Path,
    starts: Mapping[int, Path | None],
    progress: Progress = silent,
    *,
    random: bool = False,
) -> tuple[Line, float]:
    """Train on the labels of every fold but one, for each; the Dice of all folds together, and the seconds."""
    records: list[Record] = []
    for fold, start in starts.items():
        lesson = config.lesson(config.labelled, fold=fold, start=None if start is None else str(start), random=random)
        records.append(train(lesson, out / f"fold-{fold}" / "labels", progress))
    values = [s.value for r in records for s in r.scores if s.metric == "dice" and s.value is not None]
    teachers = {fold: out / f"fold-{fold}" / "labels" / "weights" for fold in starts}
    dice = float(np.mean(values)) if values else 0.0
    return Line(dice, teachers, dict(starts)), sum(r.seconds for r in records)


def rounds(
    config: StagesConfig,
    stage: str,
    out: Path,
    line: Line,
    cases: Sequence[Case],
    student: Student,
    tell: Callable[[Row], None],
    progress: Progress = silent,
) -> Line:
    """Go on until Dice drops, rounds are over, or a teacher has nothing to teach.

    Args:
        line: where it begins.
        cases: what is pseudo-labelled.
        student: how one learns from a pool.
        tell: called after each round.

    Returns:
        the best line; that of before, if no round was better.
    """
    for number in range(1, config.rounds + 1):
        folder, seconds = out / f"round-{number}", 0.0
        students: dict[int, Path | None] = {}
        try:
            for fold, teacher in line.teachers.items():
                place = folder / f"fold-{fold}"
                where = f"round {number} of {stage}, fold {fold}"
                pool = pseudo_labelled(Trained.load(teacher), cases, place / "pool", where, progress)
                seconds += student(pool, place / "student")
                students[fold] = place / "student" / "weights"
        except OnlyBackground as fault:
            tell(Row(stage, number, None, seconds, kept=False, note=str(fault)))
            return line
        found, spent = over_folds(config, folder, students, progress)
        row = Row(stage, number, found.dice, seconds + spent)
        if found.dice < line.dice:
            tell(replace(row, kept=False, note=f"Dice dropped from {line.dice:.4f}: the rounds end here"))
            return line
        tell(row)
        line = found
    return line
