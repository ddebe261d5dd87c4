"""Average the predictions of several trained runs: their probabilities, or the numbers of a regression."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimlift.errors import RunError
from dimlift.inference.predictor import Predictor


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
    members: Sequence[Predictor], images: Sequence[Path], read: Callable[[Path], Any]
) -> tuple[NDArray[Any], Any, dict[str, Any]]:
    """Predict one case with one run, or with the mean of several.

    Each member preprocesses the files itself: what was fitted on its training cases stays with it.

    Args:
        images: files of the case.
        read: returns the content of a file; called once for each file.

    Returns:
        class indices of a segmentation, probabilities of a classification or the number of a regression, (1,); the
        source for writing labels (`InputSample.source`); further entries for predictions.json.

    Raises:
        RunError: if members resample the case to different grids.
    """
    first, modality = members[0], members[0].modality
    kind = first.task.kind
    contents = {path: read(path) for path in images if path.exists()}
    if len(members) == 1:
        sample, source = modality.read_input(first.preprocessing, images, contents.pop)
        if kind == "classification":
            return first.predict_proba(sample), source, modality.explain(first, sample)
        return modality.predict(first, sample), source, modality.explain(first, sample)
    total, source = None, None
    for member in members:
        opened = modality.read_input(member.preprocessing, images, contents.__getitem__)
        source = source or opened.source
        part = modality.predict(member, opened.sample) if kind == "regression" else member.predict_proba(opened.sample)
        if total is not None and total.shape != part.shape:
            raise RunError(
                f"{images[0]} has shapes {total.shape} and {part.shape} for two runs, which resample differently; "
                "train them at one spacing (preprocessing.spacing=[z, y, x])"
            )
        total = part if total is None else total + part
    mean = np.asarray(total) / len(members)
    if kind == "segmentation":
        mean = mean.argmax(axis=modality.class_axis).astype(np.uint8 if first.task.num_classes <= 256 else np.int16)
    return mean, source, {}
