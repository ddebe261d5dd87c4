"""Score label maps on disk against reference label maps, whichever program predicted them."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dimlift.data.io.readers import files_by_stem, list_volumes, read_volume
from dimlift.data.preprocessing.masks import align_mask, integer_labels
from dimlift.data.volume import voxel_sizes
from dimlift.errors import DataError
from dimlift.metrics.patients import patient_interval
from dimlift.metrics.scores import ONE_EMPTY, score_segmentation
from dimlift.progress import Event, Progress, no_progress
from dimlift.records.record import Score

LESION_METRICS = ("lesion_sensitivity", "false_lesions")
MAX_NAMES = 5


class ClassMean(NamedTuple):
    """The mean of one metric over the cases.

    Attributes:
        class_: name of the class.
        metric: "dice", "hd95_mm", ...
        mean: over the cases in which it is defined; None if there is none.
        interval: 95 % of a bootstrap over cases; None for fewer than two.
        cases: number of cases in which it is defined.
    """

    class_: str
    metric: str
    mean: float | None
    interval: tuple[float, float] | None
    cases: int


def compare_label_maps(
    predictions: Path,
    reference: Path,
    *,
    labels: Mapping[str, int] | None = None,
    ignore: int | None = None,
    tolerance_mm: float = 1.0,
    lesions: bool = False,
    progress: Progress = no_progress,
) -> list[Score]:
    """Return the scores of every case.

    Args:
        predictions: a label map, or a folder of them.
        reference: a label map, or a folder of them with the same file names; further ones are not scored.
        labels: name to value; None takes every value of the reference but 0, named by its number.
        ignore: value of the reference at voxels without annotation.
        tolerance_mm: of the normalised surface dice.
        lesions: also count connected components.

    Raises:
        DataError: if a prediction has no reference, or holds a value that is not among the labels.
        GeometryMismatchError: if two files are not on one grid.
    """
    pairs = pair_files(predictions, reference)
    if labels is None:
        values = {int(value) for _, truth in pairs.values() for value in np.unique(_read(truth))}
        labels = {str(value): value for value in sorted(values - {0, ignore})}
    if not any(value not in (0, ignore) for value in labels.values()):
        raise DataError(f"{reference} holds no label but the background; name the labels with --label NAME=VALUE")
    known, scores = {0, *labels.values()}, []
    for number, (name, (predicted, truth)) in enumerate(pairs.items()):
        image = read_volume(truth)
        found = integer_labels(align_mask(read_volume(predicted), image))
        if unknown := sorted(set(np.unique(found).tolist()) - known):
            raise DataError(
                f"{predicted} holds the value {unknown[0]}, which is not among the labels "
                f"({', '.join(f'{key}={value}' for key, value in labels.items())}); name it with --label NAME=VALUE"
            )
        spacing = voxel_sizes(image.affine).tolist()
        of_case = score_segmentation(name, found, integer_labels(image), labels, spacing, ignore, tolerance_mm)
        scores += [score for score in of_case if lesions or score.metric not in LESION_METRICS]
        progress(Event("read", fraction=(number + 1) / len(pairs)))
    return scores


def pair_files(predictions: Path, reference: Path) -> dict[str, tuple[Path, Path]]:
    """Return prediction and reference of every case, by file name without suffix; two files are a pair as they are.

    Raises:
        DataError: if a path is missing or empty, or a prediction has no reference.
    """
    for path in (predictions, reference):
        if not path.exists():
            raise DataError(f"{path} does not exist; check the path")
    if predictions.is_file() and reference.is_file():
        return {next(iter(files_by_stem([predictions]))): (predictions, reference)}
    found, references = (files_by_stem(list_volumes(p) if p.is_dir() else [p]) for p in (predictions, reference))
    for path, files in ((predictions, found), (reference, references)):
        if not files:
            raise DataError(f"{path} holds no label map; pass a file or a folder of files")
    if missing := [name for name in found if name not in references]:
        more = f" and {len(missing) - MAX_NAMES} more" if len(missing) > MAX_NAMES else ""
        raise DataError(
            f"{reference} has no file called {', '.join(missing[:MAX_NAMES])}{more}; a prediction and its reference "
            "have the same name"
        )
    return {name: (path, references[name]) for name, path in found.items()}


def class_means(scores: list[Score]) -> list[ClassMean]:
    """Return the mean of every metric over the cases, by class, and over the means of the classes ("mean").

    `ONE_EMPTY` is left out.
    """
    table: dict[tuple[str, str], dict[str, float | None]] = defaultdict(dict)
    for score in scores:
        if score.metric != ONE_EMPTY:
            table[score.class_, score.metric][score.case] = score.value
    means = [_mean(name, metric, list(values.values())) for (name, metric), values in table.items()]
    if len({name for name, _ in table}) > 1:
        for metric in dict.fromkeys(metric for _, metric in table):
            of_class = [values for (_, other), values in table.items() if other == metric]
            cases = [[values.get(case) for values in of_class] for case in of_class[0]]
            known = [[v for v in values if v is not None] for values in cases]
            means.append(_mean("mean", metric, [float(np.mean(v)) if v else None for v in known]))
    return means


def _mean(class_: str, metric: str, values: list[float | None]) -> ClassMean:
    known = np.array([value for value in values if value is not None])
    of_chosen: Callable[[np.ndarray], float] = lambda chosen: float(known[chosen].mean())  # noqa: E731
    interval = patient_interval(of_chosen, np.arange(len(known))) if len(known) else None
    return ClassMean(class_, metric, float(known.mean()) if len(known) else None, interval, len(known))


def _read(path: Path) -> np.ndarray:
    return integer_labels(read_volume(path))
