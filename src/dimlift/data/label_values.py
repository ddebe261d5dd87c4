"""Labels of voxels and points: integers, never narrowed. Every reader of labels calls `to_label_values`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimlift.data.issue import Issue
from dimlift.errors import DataError

LABEL_TOLERANCE = 1e-3
"""Labels saved through a scale read back as 1.0000000196; values this close to an integer are accepted."""


def to_label_values(array: NDArray[Any], source: object, shape: tuple[int, ...] | None = None) -> NDArray[np.int32]:
    """Return labels as integers.

    Args:
        array: labels of any numeric type.
        source: the file, or a name of the array, for messages.
        shape: the shape that the labels must have; None accepts any.

    Returns:
        The labels in 32 bits, in the shape of the array.

    Raises:
        DataError: if the shape differs, a label is NaN, infinite or more than 0.001 from an integer, or the labels do
            not fit into 32 bits.
    """
    if shape is not None and array.shape != shape:
        message = f"has labels of shape {array.shape}; {shape} is expected, one for each point or voxel"
        raise _refusal(source, message, "save labels and data together")
    if array.dtype.kind not in "iubf":
        raise _refusal(source, f"has labels of type {array.dtype}; integers are expected", "save class numbers")
    labels = array
    if array.dtype.kind == "f":
        if count := int(array.size - np.count_nonzero(np.isfinite(array))):
            message = f"has {count} NaN or infinite labels"
            raise _refusal(source, message, "set them to a class, or to the ignore label")
        labels = np.rint(array)
        error = np.abs(array - labels)
        if error.max(initial=0) > LABEL_TOLERANCE:
            examples = ", ".join(f"{value:g}" for value in np.unique(array[error > LABEL_TOLERANCE])[:5])
            fix = "save class numbers; a probability map or a mask resampled with interpolation is not a label map"
            raise _refusal(source, f"holds values that are not integers ({examples})", fix)
    low, high = labels.min(initial=0), labels.max(initial=0)
    if low < -(2**31) or high >= 2**31:
        message = f"holds numbers from {low} to {high}, which do not fit into 32 bits"
        raise _refusal(source, message, "save class numbers")
    return labels.astype(np.int32)


def _refusal(source: object, message: str, fix: str) -> DataError:
    return Issue(str(source), "error", message, fix).as_error()
