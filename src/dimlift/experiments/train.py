"""Train one configuration into a folder."""

from pathlib import Path

from dimlift.data.cases import Dataset
from dimlift.data.check import check_dataset
from dimlift.data.dataset import open_dataset
from dimlift.data.findings import raise_on_errors
from dimlift.experiments.cells import Places, run_cell
from dimlift.experiments.config import StudyConfig, TrainConfig
from dimlift.experiments.folder import claimed
from dimlift.experiments.progress import Event, Progress, silent
from dimlift.experiments.reproducibility import promise
from dimlift.experiments.stopping import heeded
from dimlift.records.record import Record


def train(config: TrainConfig, out: Path | str, progress: Progress = silent) -> Record:
    """Train, save and score one run; a run that was interrupted goes on where it stopped.

    Leaves in `out`: config.yaml (resolved), weights/ (the weights folder), records/<cell>.json, and
    predictions/<case>.nii.gz for the test cases of the fold.

    Raises:
        DataError: if the data does not pass its checks.
        RunError: if the folder holds another run, or training cannot go on.
        Stopped: when asked to by SIGTERM or SIGUSR1; the same call goes on.
    """
    out = Path(out)
    dataset = open_checked(config, progress)
    progress(Event("check", share=1.0, message=f"reproducibility: {promise(config.budget, config.loop)}"))
    content = config.model_dump(mode="json")
    with heeded(), claimed(out, "train", config.cell(dataset.manifest_hash()), content):
        places = Places(
            records=out / "records",
            weights=out / "weights",
            predictions=out / "predictions",
            checkpoints=out / "checkpoints",
            cache=out / "cache",
        )
        return run_cell(config, dataset, places, progress)


def open_checked(config: TrainConfig | StudyConfig, progress: Progress = silent) -> Dataset:
    """The data set of a configuration, every file of it checked.

    Raises:
        DataError: naming files, findings and remedies.
    """
    dataset = open_dataset(config.dataset.path, config.dataset.layout, config.task)

    def heard(done: int, total: int) -> None:
        progress(Event("check", share=done / max(total, 1)))

    wanted = config.preprocessing
    findings = check_dataset(
        dataset,
        wanted.nan_policy,
        heard,
        resample_labels=wanted.resample_labels,
        missing=wanted.missing_sequences,
    )
    raise_on_errors(findings)
    return dataset
