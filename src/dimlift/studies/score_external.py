"""Score predictions made elsewhere as a cell of a study: the same cases, the same grid, the same metrics.

Nobody can see how they were made. What can be checked is: every test case has a prediction on its own grid, with the
data set's labels; and where nnU-Net's `splits_final.json` lies with the predictions, no test case was trained on.
"""

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from dimlift.data.case import Case, Dataset
from dimlift.data.io.readers import by_name, read_grid, volumes_in
from dimlift.data.io.writers import LabelMap, write_labels
from dimlift.data.preprocessing.masks import read_mask
from dimlift.data.volume import voxel_sizes
from dimlift.data.voxel_checks import read_integers, require_listed
from dimlift.errors import DataError
from dimlift.methods.baselines.external import ExternalArm
from dimlift.metrics.scores import score_segmentation
from dimlift.progress import Event, Progress, silent
from dimlift.records.record import Record, Score
from dimlift.studies.run import Places, summary
from dimlift.studies.run_config import TrainConfig
from dimlift.studies.run_record import cell_record
from dimlift.studies.split import read_splits, split_cases

SPLITS = "splits_final.json"


def run_external(
    config: TrainConfig, arm: ExternalArm, dataset: Dataset, places: Places, progress: Progress = silent
) -> Record:
    """Score one cell of predictions, and keep copies of them where the page looks for them.

    Raises:
        ConfigError: if the folder is not there.
        DataError: if a test case has no prediction, was trained on, or has labels the data set does not.
        GeometryMismatch: if a prediction does not lie on the grid of its image.
    """
    cell = config.cell(dataset.manifest_hash())
    folder = arm.folder(config.fold, config.fraction, config.seed)
    files = by_name(volumes_in(folder))
    digest = _content(tuple(sorted(files.values())), tuple(file.stat().st_mtime_ns for file in sorted(files.values())))
    path = places.records / f"{cell}.json"
    if path.is_file():
        record = Record.load(path)
        if record.status == "finished" and record.extra.get("content") == digest:
            progress(Event("skip", config.name, 1.0, message="already scored"))
            return record
    _, test = split_cases(dataset, config)
    _require_all(test, files, folder)
    _require_unseen(test, folder, Path(arm.external), config.fold)
    scores: list[Score] = []
    for number, case in enumerate(test):
        scores += _scored(case, files[case.name], dataset, config, places)
        progress(Event("predict", config.name, (number + 1) / len(test)))
    record = cell_record(
        config,
        cell,
        "finished",
        scores=scores,
        extra={
            "external": str(folder),
            "content": digest,
            "notes": ["predictions made elsewhere: their budget and their training cases are not known to this study"],
        },
    )
    record.save(places.records)
    progress(Event("done", config.name, 1.0, message=summary(record)))
    return record


def _scored(case: Case, file: Path, dataset: Dataset, config: TrainConfig, places: Places) -> list[Score]:
    if not isinstance(case.label, Path):
        return []
    grid = read_grid(case.images[0])
    truth = read_mask(case.label, grid, config.preprocessing.resample_labels)
    found = read_mask(file, grid)
    labels = read_integers(found)
    require_listed(file, labels, {0, *dataset.labels.values()})
    write_labels(places.predictions / f"{case.name}.nii.gz", LabelMap(labels, found.affine, file, None, dataset.labels))
    spacing = voxel_sizes(truth.affine).tolist()
    return score_segmentation(case.name, labels, read_integers(truth), dataset.labels, spacing, dataset.ignore)


def _require_all(test: Sequence[Case], files: dict[str, Path], folder: Path) -> None:
    missing = [case.name for case in test if case.name not in files]
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise DataError(
            f"{folder} has no prediction of {len(missing)} of {len(test)} test cases: {shown}. Predict them, or "
            f"test on the split the predictions were made with: split.file={SPLITS} for nnU-Net"
        )


def _require_unseen(test: Sequence[Case], folder: Path, root: Path, fold: int | None) -> None:
    """Stop if nnU-Net's own split, where it lies with the predictions, says that a test case was trained on."""
    if folder.name != "validation" or fold is None:
        return
    for path in (root / SPLITS, root.parent / SPLITS):
        if path.is_file():
            trained = set(read_splits(path, fold)[0])
            seen = [case.name for case in test if case.name in trained]
            if seen:
                raise DataError(f"{path} says that {', '.join(seen[:5])} trained fold {fold}; use split.file={path}")
            return


@lru_cache(maxsize=256)
def _content(files: tuple[Path, ...], changed: tuple[int, ...]) -> str:
    """SHA-256 over names and contents; read again only when a file has changed."""
    digest = hashlib.sha256(json.dumps([file.name for file in files]).encode())
    for file in files:
        if file.is_file():
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
