"""Train one configuration into a folder."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from dimlift.data.case import Dataset
from dimlift.data.issue import raise_on_errors
from dimlift.data.quality.check_dataset import check_dataset
from dimlift.progress import Event, Progress, no_progress
from dimlift.records.record import RunRecord
from dimlift.studies.config_checks import open_configured_dataset
from dimlift.studies.run import RunPaths, execute_run
from dimlift.studies.run_config import StudyConfig, TrainConfig
from dimlift.studies.run_folder import lock_run_folder
from dimlift.training.distributed import ProcessGroup, current_group
from dimlift.training.reproducibility import reproducibility_level
from dimlift.training.signals import raise_on_signal


def train(
    config: TrainConfig, out: Path | str, progress: Progress = no_progress, cache: Path | None = None
) -> RunRecord:
    """Train, save and score one run; an interrupted run is resumed.

    Under `torchrun` or `srun` the processes share every batch, and process 0 writes the files.

    Writes to `out`: config.yaml (resolved), weights/ (the weights folder), records/<run_id>.json, and
    predictions/<case>.nii.gz for the test cases of the cv fold.

    Args:
        cache: folder of features that other runs share; cache/ below `out` by default.

    Raises:
        DataError: if the dataset has errors.
        RunError: if the folder holds another run, or training cannot continue.
        RunInterrupted: on Ctrl-C, SIGTERM or SIGUSR1; the same call resumes the run.
    """
    out, group = Path(out), current_group()
    if not group.is_main:
        progress = no_progress
    dataset = open_checked(config, progress, group)
    progress(
        Event("check", fraction=1.0, message=f"reproducibility: {reproducibility_level(config.budget, config.loop)}")
    )
    content = config.model_dump(mode="json")
    run_id = config.run_id(dataset.manifest_hash())
    with (
        raise_on_signal(),
        lock_run_folder(out, "train", run_id, content, dataset.content_hashes) if group.is_main else nullcontext(),
    ):
        paths = RunPaths(*(out / name for name in ("records", "weights", "predictions", "checkpoints", "cache")))
        if cache is not None:
            paths = replace(paths, cache=cache)
        return execute_run(config, dataset, paths, progress, group)


def open_checked(
    config: TrainConfig | StudyConfig,
    progress: Progress = no_progress,
    group: ProcessGroup = ProcessGroup(),  # noqa: B008 - immutable
) -> Dataset:
    """Open the dataset of a configuration; process 0 checks every file.

    Raises:
        DataError: listing files, issues and fixes.
    """
    dataset = open_configured_dataset(config)
    if not group.is_main:
        return dataset

    def on_progress(done: int, total: int) -> None:
        progress(Event("check", fraction=done / max(total, 1)))

    options = config.preprocessing
    issues = check_dataset(
        dataset,
        options.nan_policy,
        on_progress,
        resample_labels=options.resample_labels,
        missing=options.missing_channels,
    )
    raise_on_errors(issues)
    return dataset
