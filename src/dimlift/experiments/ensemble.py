"""Several trained runs give one answer: the mean of their probabilities, or of their numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimlift.errors import RunError
from dimlift.experiments.scoring import softmax
from dimlift.experiments.trained import Trained


def require_alike(members: Sequence[Trained], folders: Sequence[Path]) -> None:
    """Raises: RunError, if runs answer different questions, naming the first that differs from the first."""
    first = members[0]
    for member, folder in zip(members[1:], folders[1:], strict=True):
        for what, mine, theirs in (
            ("the task", first.task.kind, member.task.kind),
            ("the labels", first.preprocessing.labels, member.preprocessing.labels),
            ("the channels", first.preprocessing.channels, member.preprocessing.channels),
            ("the depth axis", first.preprocessing.through_plane, member.preprocessing.through_plane),
        ):
            if mine != theirs:
                raise RunError(f"{folders[0]} and {folder} differ in {what} ({mine} and {theirs}); average runs alike")


def averaged(members: Sequence[Trained], images: Sequence[Path]) -> NDArray[Any]:
    """The answer of all members together, in the form one `Trained.answer` has.

    Every member reads the files by its own preprocessing: what was fitted to its fold stays with it.

    Raises:
        RunError: if members see a volume on different grids.
    """
    kind, total = members[0].task.kind, None
    for member in members:
        sample = member.preprocessing.read_image(images)
        if kind == "segmentation":
            part = member.probabilities(sample)
        else:
            part = member.answer(sample) if kind == "regression" else softmax(member.answer(sample))
        if total is not None and total.shape != part.shape:
            raise RunError(
                f"{images[0]} has the shapes {total.shape} and {part.shape} for two runs, which resample differently; "
                "train them at one spacing (preprocessing.spacing=[z, y, x])"
            )
        total = part if total is None else total + part
    mean = np.asarray(total) / len(members)
    if kind == "segmentation":
        return mean.argmax(axis=0).astype(np.uint8 if len(mean) <= 256 else np.int16)
    return mean if kind == "regression" else np.log(np.maximum(mean, np.finfo(np.float32).tiny))
