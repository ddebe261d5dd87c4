"""Rounds of pseudo-labels: a teacher predicts labels, a new student is trained on them and fine-tuned on real labels.

Kienzle et al., 2022, https://arxiv.org/abs/2206.15073. With cross-validation each fold has its own sequence of
teachers, so that no volume is scored by a network that was trained on its label, directly or through a teacher.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dimlift.data.case import Case
from dimlift.inference.predictor import Predictor
from dimlift.progress import Progress, no_progress
from dimlift.records.record import RunRecord
from dimlift.studies.self_training.config import SelfTrainingConfig
from dimlift.studies.self_training.pseudo_label import EmptyPseudoLabelsError, pseudo_label
from dimlift.studies.self_training.students import TrainStudent
from dimlift.studies.train import train


@dataclass(frozen=True)
class RoundResult:
    """The result of a stage, or of one round of it.

    Attributes:
        dice: mean over classes and labelled volumes, each scored by the cv fold that was not trained on it.
        seconds: training time.
        kept: whether later stages build on it.
        note: why the rounds ended, if they did.
    """

    stage: str
    round: int
    dice: float | None
    seconds: float
    kept: bool = True
    note: str = ""


@dataclass(frozen=True)
class RoundState:
    """The best networks so far.

    Attributes:
        teachers: weights folder of the network of each cv fold.
        students: weights folder that each of them was fine-tuned from; None for the initial weights.
    """

    dice: float
    teachers: Mapping[int, Path]
    students: Mapping[int, Path | None]


def cross_validate(
    config: SelfTrainingConfig,
    out: Path,
    students: Mapping[int, Path | None],
    progress: Progress = no_progress,
    *,
    random: bool = False,
) -> tuple[RoundState, float]:
    """Train on the labels of all cv folds but one, for each fold.

    Args:
        students: weights folder to start from, for each cv fold.
        random: do not load pretrained weights.

    Returns:
        The networks with the Dice over all folds, and the training time in seconds.
    """
    records: list[RunRecord] = []
    for fold, student in students.items():
        init_from = None if student is None else str(student)
        run = config.training_config(config.labelled, fold=fold, init_from=init_from, random=random)
        records.append(train(run, out / f"fold-{fold}" / "labels", progress))
    values = [s.value for r in records for s in r.scores if s.metric == "dice" and s.value is not None]
    teachers = {fold: out / f"fold-{fold}" / "labels" / "weights" for fold in students}
    dice = float(np.mean(values)) if values else 0.0
    return RoundState(dice, teachers, dict(students)), sum(record.seconds for record in records)


def run_rounds(
    config: SelfTrainingConfig,
    stage: str,
    out: Path,
    state: RoundState,
    cases: Sequence[Case],
    train_student: TrainStudent,
    on_round: Callable[[RoundResult], None],
    progress: Progress = no_progress,
) -> RoundState:
    """Repeat rounds until Dice drops, the number of rounds is reached, or the pseudo-labels lack a class.

    Args:
        state: networks to start with.
        cases: volumes to pseudo-label.
        train_student: trains a network on pseudo-labels.
        on_round: called after each round.

    Returns:
        The best networks; `state` if no round was better.
    """
    for number in range(1, config.num_rounds + 1):
        folder, seconds = out / f"round-{number}", 0.0
        students: dict[int, Path | None] = {}
        try:
            for fold, teacher in state.teachers.items():
                fold_folder = folder / f"fold-{fold}"
                where = f"round {number} of {stage}, fold {fold}"
                pool = pseudo_label(Predictor.load(teacher), cases, fold_folder / "pool", where, progress)
                seconds += train_student(pool, fold_folder / "student")
                students[fold] = fold_folder / "student" / "weights"
        except EmptyPseudoLabelsError as error:
            on_round(RoundResult(stage, number, None, seconds, kept=False, note=str(error)))
            return state
        new, finetune_seconds = cross_validate(config, folder, students, progress)
        result = RoundResult(stage, number, new.dice, seconds + finetune_seconds)
        if new.dice < state.dice:
            on_round(replace(result, kept=False, note=f"Dice dropped from {state.dice:.4f}; no further round is run"))
            return state
        on_round(result)
        state = new
    return state
