"""Average the predictions of several trained runs: their probabilities, or the numbers of a regression."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dimlift.errors import RunError
from dimlift.inference.coverage import Coverage
from dimlift.inference.largest_component import keep_largest_components
from dimlift.inference.predictor import Predictor


class CasePrediction(NamedTuple):
    """What is known about a case after prediction.

    Attributes:
        found: class indices of a segmentation, probabilities of a classification or the number of a regression, (1,).
        source: what is needed to write labels (`InputSample.source`).
        explanation: further entries for predictions.json.
        coverage: windows and predicted voxels or points.
        foreground_ml: predicted volume of each class in millilitres; empty for other tasks than the segmentation of
            volumes.
    """

    found: NDArray[Any]
    source: Any
    explanation: dict[str, Any]
    coverage: Coverage
    foreground_ml: dict[str, float]


def require_compatible(members: Sequence[Predictor], folders: Sequence[Path]) -> None:
    """Raises: RunError, if runs predict different things, naming the first that differs from the first run."""
    first = members[0]
    for member, folder in zip(members[1:], folders[1:], strict=True):
        for what, mine, theirs in (
            ("the modality", first.modality.name, member.modality.name),
            ("the task", first.task.kind, member.task.kind),
            ("the labels", first.preprocessing.labels, member.preprocessing.labels),
            ("the channels", first.preprocessing.channels, member.preprocessing.channels),
            ("the slice axis", _slice_axis(first), _slice_axis(member)),
        ):
            if mine != theirs:
                raise RunError(
                    f"{folders[0]} and {folder} differ in {what} ({mine} and {theirs}); average similar runs"
                )


def _slice_axis(member: Predictor) -> Any:
    return getattr(member.preprocessing, "slice_axis", None)


def predict_case(
    members: Sequence[Predictor],
    images: Sequence[Path],
    read: Callable[[Path], Any],
    keep_largest: Sequence[int] = (),
) -> CasePrediction:
    """Predict one case with one run, or with the mean of several.

    Each member preprocesses the files itself: what was fitted on its training cases stays with it.

    Args:
        images: files of the case.
        read: returns the content of a file; called once for each file.
        keep_largest: class indices of which only the largest connected component is kept; of volumes.

    Raises:
        DataError: if a file cannot be used.
        RunError: if outputs are not finite, or members resample the case to different grids.
    """
    first, modality = members[0], members[0].modality
    contents = {path: read(path) for path in images if path.exists()}
    if len(members) == 1:
        opened, coverage = modality.read_input(first.preprocessing, images, contents.pop), Coverage()
        predicted = modality.predict_proba if first.task.kind == "classification" else modality.predict
        found = keep_largest_components(predicted(first, opened.sample, coverage), keep_largest)
        explanation = modality.explain(first, opened.sample)
        return CasePrediction(found, opened.source, explanation, coverage, _volumes(first, found, opened.sample))
    total, base, coverages = None, None, []
    for member in members:
        opened = modality.read_input(member.preprocessing, images, contents.__getitem__)
        base = base or opened
        coverages.append(Coverage())
        predicted = modality.predict if first.task.kind == "regression" else modality.predict_proba
        part = predicted(member, opened.sample, coverages[-1])
        if total is not None and total.shape != part.shape:
            raise RunError(
                f"{images[0]} has shapes {total.shape} and {part.shape} for two runs, which resample differently; "
                "train them at one spacing (preprocessing.spacing=[z, y, x])"
            )
        total = part if total is None else total + part
    mean: NDArray[Any] = np.asarray(total) / len(members)
    if first.task.kind == "segmentation":
        mean = mean.argmax(axis=modality.class_axis).astype(np.uint8 if first.task.num_classes <= 256 else np.int16)
        mean = keep_largest_components(mean, keep_largest)
    sample, source = base or (None, None)
    return CasePrediction(mean, source, {}, Coverage.of_members(coverages), _volumes(first, mean, sample))


def _volumes(predictor: Predictor, found: NDArray[Any], sample: Any) -> dict[str, float]:
    if predictor.task.kind != "segmentation":
        return {}
    return predictor.modality.class_volumes(predictor.preprocessing, found, sample)
