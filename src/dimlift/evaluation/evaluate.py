"""Predict test cases and score them against their labels, in the frame of their files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dimlift.data.case import Case
from dimlift.inference.predictor import Predictor
from dimlift.metrics.scores import score_classification
from dimlift.progress import Event, Progress, no_progress
from dimlift.records.record import Score
from dimlift.training.distributed import ProcessGroup


def score_cases(
    predictor: Predictor,
    cases: Sequence[Case],
    predictions: Path | None = None,
    arm: str = "",
    progress: Progress = no_progress,
    group: ProcessGroup = ProcessGroup(),  # noqa: B008 - immutable
) -> list[Score]:
    """Return the scores of every case.

    Args:
        predictions: folder for the predicted labels of a segmentation; None writes nothing.
        arm: name for progress events.
        group: processes that share the cases; each returns the scores of all.
    """
    found: list[tuple[str, Any]] = []
    own = cases[group.rank :: group.world_size]
    for number, case in enumerate(own):
        found.append((case.name, _predict_and_compare(predictor, case, predictions)))
        progress(Event("predict", arm, (number + 1) / len(own)))
    gathered = dict(group.gather_objects(found))
    results = {case.name: gathered[case.name] for case in cases}
    kind, preprocessing = predictor.task.kind, predictor.preprocessing
    if not results:
        return []
    if kind == "segmentation":
        return predictor.modality.segmentation_scores(preprocessing, results)
    if kind == "classification":
        truth = np.array([case.label for case in cases])
        return score_classification(list(results), np.stack(list(results.values())), truth, preprocessing.labels)
    return [
        Score(case.name, "all", "absolute_error", abs(results[case.name] - float(case.label)))  # type: ignore[arg-type]
        for case in cases
    ]


def _predict_and_compare(predictor: Predictor, case: Case, predictions: Path | None) -> Any:
    """Return the probabilities or the number of one case; of a segmentation, its comparison with the truth."""
    modality, preprocessing = predictor.modality, predictor.preprocessing
    sample, source = modality.read_input(preprocessing, case.images, modality.file_reader(preprocessing))
    if predictor.task.kind == "classification":
        return predictor.predict_proba(sample)
    found = predictor.predict(sample)
    if predictor.task.kind == "regression":
        return found
    if predictions is not None:
        path = predictions / f"{case.name}{modality.prediction_suffix}"
        modality.write_prediction(preprocessing, path, found, source)
    return modality.compare_labels(predictor, case, found, source)
