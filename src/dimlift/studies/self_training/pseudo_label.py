"""Pseudo-labels of unlabelled volumes, written as a dataset."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dimlift.data.case import Case
from dimlift.data.datasets.dataset_json import DATASET_JSON
from dimlift.data.io.readers import read_volume, volume_suffix
from dimlift.errors import RunError
from dimlift.inference.predictor import Predictor
from dimlift.progress import Event, Progress, no_progress
from dimlift.records.record import write_json


class EmptyPseudoLabelsError(RunError):
    """The pseudo-labels lack a class, so a network cannot be trained on them."""


def pseudo_label(
    teacher: Predictor, cases: Sequence[Case], folder: Path, where: str, progress: Progress = no_progress
) -> Path:
    """Write hard labels predicted by a teacher for every case; existing files are kept.

    Args:
        where: stage, round and cv fold, for messages.

    Returns:
        The folder, in nnU-Net's raw layout with links to the images.

    Raises:
        EmptyPseudoLabelsError: if a class occurs in no volume.
    """
    (folder / "imagesTr").mkdir(parents=True, exist_ok=True)
    (folder / "labelsTr").mkdir(exist_ok=True)
    preprocessing = teacher.preprocessing
    present: set[int] = set()
    for number, case in enumerate(cases, start=1):
        for channel, image in enumerate(case.images):
            link = folder / "imagesTr" / f"{case.name}_{channel:04d}{volume_suffix(image)}"
            if not link.exists():
                link.unlink(missing_ok=True)
                link.symlink_to(image.resolve())
        path = folder / "labelsTr" / f"{case.name}.nii.gz"
        if not path.exists():
            sample = preprocessing.read_image(case.images)
            preprocessing.write(path, teacher.predict(sample), sample.geometry, "nifti")
        present.update(np.unique(np.asarray(read_volume(path).array)).astype(int).tolist())
        progress(Event("predict", where, number / len(cases)))
    absent = [name for name, value in preprocessing.labels.items() if value not in present]
    if absent:
        found = "only background" if len(absent) == len(preprocessing.labels) else f"no {', '.join(absent)}"
        raise EmptyPseudoLabelsError(
            f"{where}: the network predicts {found} in {len(cases)} volumes; add labelled volumes or raise the budget"
        )
    channels = {str(number): name for number, name in enumerate(preprocessing.channels)}
    labels = {"background": 0, **preprocessing.labels}
    write_json(
        folder / DATASET_JSON,
        {"channel_names": channels, "labels": labels, "numTraining": len(cases), "file_ending": ".nii.gz"},
    )
    return folder
