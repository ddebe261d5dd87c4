"""Predict test cases and compare them with their truth, on the grid and in the millimetres of their files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from dimlift.data.case import Case
from dimlift.data.io.readers import read_grid
from dimlift.data.preprocessing.masks import read_mask
from dimlift.data.volume import voxel_sizes
from dimlift.data.voxel_checks import read_integers
from dimlift.inference.predictor import Trained
from dimlift.metrics.scores import score_classification, score_segmentation
from dimlift.progress import Event, Progress, silent
from dimlift.records.record import Score
from dimlift.training.distributed import Team


def score_cases(
    trained: Trained,
    cases: Sequence[Case],
    predictions: Path | None,
    arm: str = "",
    progress: Progress = silent,
    together: Team = Team(),  # noqa: B008 - it never changes
) -> list[Score]:
    """Scores of every case.

    Args:
        predictions: folder for label maps, as `<case>.nii.gz`; none are written without it.
        together: processes that share the cases; each gets the scores of all.
    """
    if together.size > 1 and trained.task.kind != "classification":  # scores of classes are about all cases at once
        part = score_cases(trained, cases[together.rank :: together.size], predictions, arm, progress)
        found = together.gather_lists(part)
        return [score for case in cases for score in found if score.case == case.name]
    scores: list[Score] = []
    answers: list[NDArray[Any]] = []
    for number, case in enumerate(cases):
        sample = trained.preprocessing.read_image(case.images)
        answer = trained.answer(sample)
        if trained.task.kind != "segmentation":
            answers.append(answer)
        else:
            if predictions is not None:
                trained.preprocessing.write(predictions / f"{case.name}.nii.gz", answer, sample.geometry)
            restored = trained.preprocessing.restore(answer, sample.geometry)
            scores += _segmentation(trained, case, restored)
        progress(Event("predict", arm, (number + 1) / len(cases)))
    if trained.task.kind == "classification" and answers:
        labels = trained.preprocessing.labels
        truth = np.array([case.label for case in cases])
        scores = score_classification([case.name for case in cases], softmax(np.stack(answers), axis=-1), truth, labels)
    if trained.task.kind == "regression":
        for case, answer in zip(cases, answers, strict=True):
            error = abs(float(answer[0]) - float(case.label))  # type: ignore[arg-type]
            scores.append(Score(case.name, "all", "absolute_error", error))
    return scores


def _segmentation(trained: Trained, case: Case, prediction: NDArray[Any]) -> list[Score]:
    if not isinstance(case.label, Path):
        return []
    preprocessing = trained.preprocessing
    mask = read_mask(case.label, read_grid(case.images[0]), preprocessing.resample_labels)
    return score_segmentation(
        case.name,
        prediction,
        read_integers(mask),
        preprocessing.labels,
        voxel_sizes(mask.affine).tolist(),
        preprocessing.ignore,
    )
