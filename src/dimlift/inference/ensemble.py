"""Several trained runs give one answer: the mean of their probabilities, or of their numbers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from dimlift.data.preprocessing.sample import Geometry
from dimlift.data.volume import Volume
from dimlift.errors import RunError
from dimlift.inference.predictor import Trained


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


def averaged(
    members: Sequence[Trained], images: Sequence[Path], read: Callable[[Path], Volume]
) -> tuple[NDArray[Any], Geometry]:
    """The answer of all members together, in the form one `Trained.answer` has, and the way back to the file.

    Every member prepares the files by its own preprocessing: what was fitted to its fold stays with it.

    Args:
        read: reads a file; it is asked once for each.

    Raises:
        RunError: if members see a volume on different grids.
    """
    kind, total, geometry = members[0].task.kind, None, None
    volumes = {path: read(path) for path in images if path.exists()}
    for member in members:
        sample = member.preprocessing.read_image(images, volumes.__getitem__)
        geometry = geometry or sample.geometry
        if kind == "segmentation":
            part = member.probabilities(sample)
        else:
            part = member.answer(sample) if kind == "regression" else softmax(member.answer(sample), axis=-1)
        if total is not None and total.shape != part.shape:
            raise RunError(
                f"{images[0]} has the shapes {total.shape} and {part.shape} for two runs, which resample differently; "
                "train them at one spacing (preprocessing.spacing=[z, y, x])"
            )
        total = part if total is None else total + part
    mean = np.asarray(total) / len(members)
    if kind == "segmentation":
        mean = mean.argmax(axis=0).astype(np.uint8 if len(mean) <= 256 else np.int16)
    elif kind == "classification":
        mean = np.log(np.maximum(mean, np.finfo(np.float32).tiny))
    return mean, cast(Geometry, geometry)
