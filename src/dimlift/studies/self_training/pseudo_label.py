"""A pool of volumes labelled by a network, laid out as a data set of its own."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dimlift.data.case import Case
from dimlift.data.datasets.dataset_json import FILE
from dimlift.data.io.readers import read_file, suffix_of
from dimlift.errors import RunError
from dimlift.inference.predictor import Trained
from dimlift.progress import Event, Progress, silent
from dimlift.records.record import write_json


class OnlyBackground(RunError):
    """A network found nothing to teach."""


def pseudo_labelled(
    teacher: Trained, cases: Sequence[Case], folder: Path, where: str, progress: Progress = silent
) -> Path:
    """Hard labels of a teacher for every case; those there already are kept.

    Args:
        where: stage, round and fold, for messages.

    Returns:
        the folder: nnU-Net's raw layout, images as links.

    Raises:
        OnlyBackground: if a class occurs in no volume.
    """
    (folder / "imagesTr").mkdir(parents=True, exist_ok=True)
    (folder / "labelsTr").mkdir(exist_ok=True)
    preprocessing = teacher.preprocessing
    seen: set[int] = set()
    for number, case in enumerate(cases):
        for channel, image in enumerate(case.images):
            link = folder / "imagesTr" / f"{case.name}_{channel:04d}{suffix_of(image)}"
            if not link.exists():
                link.unlink(missing_ok=True)
                link.symlink_to(image.resolve())
        place = folder / "labelsTr" / f"{case.name}.nii.gz"
        if not place.exists():
            sample = preprocessing.read_image(case.images)
            preprocessing.write(place, teacher.answer(sample), sample.geometry, "nifti")
        seen.update(np.unique(np.asarray(read_file(place).array)).astype(int).tolist())
        progress(Event("predict", where, (number + 1) / len(cases)))
    absent = [name for name, value in preprocessing.labels.items() if value not in seen]
    if absent:
        what = "nothing but background" if len(absent) == len(preprocessing.labels) else f"no {', '.join(absent)}"
        raise OnlyBackground(
            f"{where}: the network found {what} in {len(cases)} volumes; it needs more labels or a longer budget "
            "before it can teach"
        )
    channels = {str(number): name for number, name in enumerate(preprocessing.channels)}
    labels = {"background": 0, **preprocessing.labels}
    write_json(
        folder / FILE,
        {"channel_names": channels, "labels": labels, "numTraining": len(cases), "file_ending": ".nii.gz"},
    )
    return folder
