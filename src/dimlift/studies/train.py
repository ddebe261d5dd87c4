"""Train one configuration into a folder."""

from contextlib import nullcontext
from pathlib import Path

from dimlift.data.case import Dataset
from dimlift.data.issue import raise_on_errors
from dimlift.progress import Event, Progress, silent
from dimlift.records.record import Record
from dimlift.studies.modality.dispatch import domain_of
from dimlift.studies.run import Places, run_cell
from dimlift.studies.run_config import StudyConfig, TrainConfig
from dimlift.studies.run_folder import claimed
from dimlift.training.distributed import Team, team
from dimlift.training.reproducibility import promise
from dimlift.training.signals import heeded


def train(config: TrainConfig, out: Path | str, progress: Progress = silent) -> Record:
    """Train, save and score one run; a run that was interrupted goes on where it stopped.

    Started by `torchrun` or `srun`, its processes share every batch, and process 0 writes.

    Leaves in `out`: config.yaml (resolved), weights/ (the weights folder), records/<cell>.json, and
    predictions/<case>.nii.gz for the test cases of the fold.

    Raises:
        DataError: if the data does not pass its checks.
        RunError: if the folder holds another run, or training cannot go on.
        Stopped: when asked to by SIGTERM or SIGUSR1; the same call goes on.
    """
    out, together = Path(out), team()
    if not together.leads:
        progress = silent
    dataset = open_checked(config, progress, together)
    progress(Event("check", share=1.0, message=f"reproducibility: {promise(config.budget, config.loop)}"))
    content = config.model_dump(mode="json")
    cell = config.cell(dataset.manifest_hash())
    with heeded(), claimed(out, "train", cell, content) if together.leads else nullcontext():
        places = Places(
            records=out / "records",
            weights=out / "weights",
            predictions=out / "predictions",
            checkpoints=out / "checkpoints",
            cache=out / "cache",
        )
        return run_cell(config, dataset, places, progress, together)


def open_checked(
    config: TrainConfig | StudyConfig,
    progress: Progress = silent,
    together: Team = Team(),  # noqa: B008 - it never changes
) -> Dataset:
    """The data set of a configuration, every file of it checked, by process 0 alone.

    Raises:
        DataError: naming files, findings and remedies.
    """
    domain = domain_of(config)
    dataset = domain.open_data(config)
    if not together.leads:
        return dataset

    def heard(done: int, total: int) -> None:
        progress(Event("check", share=done / max(total, 1)))

    raise_on_errors(domain.find_faults(dataset, config, heard))
    return dataset
