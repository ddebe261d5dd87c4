"""Score predictions made elsewhere as a run of a study: the same cases, grid and metrics.

How the predictions were made cannot be verified. These properties are: every test case has a prediction on its own grid
with the labels of the dataset, and if nnU-Net's `splits_final.json` is found with the predictions, no test case was
used for training.
"""

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from dimlift.data.case import Case, Dataset
from dimlift.data.io.readers import files_by_stem, list_volumes, read_grid
from dimlift.data.io.writers import LabelMap, write_labels
from dimlift.data.preprocessing.masks import read_mask
from dimlift.data.volume import voxel_sizes
from dimlift.data.voxel_checks import integer_labels, require_known_labels
from dimlift.errors import DataError
from dimlift.methods.baselines.external import ExternalConfig
from dimlift.metrics.scores import score_segmentation
from dimlift.progress import Event, Progress, no_progress
from dimlift.records.record import RunRecord, Score
from dimlift.studies.run import RunPaths, finished_record, run_summary
from dimlift.studies.run_config import TrainConfig
from dimlift.studies.run_record import make_run_record
from dimlift.studies.split import read_splits, split_cases

SPLITS = "splits_final.json"


def score_external_run(
    config: TrainConfig, arm: ExternalConfig, dataset: Dataset, paths: RunPaths, progress: Progress = no_progress
) -> RunRecord:
    """Score the predictions of one run and copy them to where the report expects them.

    Raises:
        ConfigError: if the folder does not exist.
        DataError: if a test case has no prediction, was used for training, or has labels unknown to the dataset.
        GeometryMismatchError: if a prediction is not on the grid of its image.
    """
    run_id = config.run_id(dataset.manifest_hash())
    folder = arm.folder(config.fold, config.train_size, config.seed)
    files = files_by_stem(list_volumes(folder))
    paths_found = tuple(sorted(files.values()))
    digest = _content_hash(paths_found, tuple(file.stat().st_mtime_ns for file in paths_found))
    record = finished_record(paths, run_id)
    if record is not None and record.extra.get("content") == digest:
        progress(Event("skip", config.name, 1.0, message="already scored"))
        return record
    _, test = split_cases(dataset, config)
    _require_predictions(test, files, folder)
    _require_not_trained_on(test, folder, Path(arm.external), config.fold)
    scores: list[Score] = []
    for number, case in enumerate(test, start=1):
        scores += _score_case(case, files[case.name], dataset, config, paths)
        progress(Event("predict", config.name, number / len(test)))
    record = make_run_record(
        config,
        run_id,
        "finished",
        scores=scores,
        extra={
            "external": str(folder),
            "content": digest,
            "notes": ["predictions made elsewhere: this study knows neither their budget nor their training cases"],
        },
    )
    record.save(paths.records)
    progress(Event("done", config.name, 1.0, message=run_summary(record)))
    return record


def _score_case(case: Case, file: Path, dataset: Dataset, config: TrainConfig, paths: RunPaths) -> list[Score]:
    if not isinstance(case.label, Path):
        return []
    grid = read_grid(case.images[0])
    truth = read_mask(case.label, grid, config.preprocessing.resample_labels)
    mask = read_mask(file, grid)
    labels = integer_labels(mask)
    require_known_labels(file, labels, {0, *dataset.labels.values()})
    write_labels(paths.predictions / f"{case.name}.nii.gz", LabelMap(labels, mask.affine, file, None, dataset.labels))
    spacing = voxel_sizes(truth.affine).tolist()
    return score_segmentation(case.name, labels, integer_labels(truth), dataset.labels, spacing, dataset.ignore)


def _require_predictions(test: Sequence[Case], files: dict[str, Path], folder: Path) -> None:
    missing = [case.name for case in test if case.name not in files]
    if missing:
        names = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise DataError(
            f"{folder} has no prediction for {len(missing)} of {len(test)} test cases: {names}. Predict them, or "
            f"test on the split that the predictions were made with: split.file={SPLITS} for nnU-Net"
        )


def _require_not_trained_on(test: Sequence[Case], folder: Path, root: Path, fold: int | None) -> None:
    """Raise if nnU-Net's split file, found with the predictions, lists a test case as training case."""
    if folder.name != "validation" or fold is None:
        return
    for path in (root / SPLITS, root.parent / SPLITS):
        if path.is_file():
            trained = set(read_splits(path, fold)[0])
            leaked = [case.name for case in test if case.name in trained]
            if leaked:
                raise DataError(f"{path} trains fold {fold} on {', '.join(leaked[:5])}; use split.file={path}")
            return


@lru_cache(maxsize=256)
def _content_hash(files: tuple[Path, ...], modified: tuple[int, ...]) -> str:
    """Return the SHA-256 of names and contents; `modified` keys the cache, so only changed files are read again."""
    digest = hashlib.sha256(json.dumps([file.name for file in files]).encode())
    for file in files:
        if file.is_file():
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
