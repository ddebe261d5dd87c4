"""Use a trained run on files: one answer for each input, on exactly the grid of its file."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from dimlift.data.case import Case, Dataset
from dimlift.data.datasets.inference_inputs import find_inputs
from dimlift.data.io.readers import read_file, read_grid
from dimlift.data.io.writers import OUTPUTS, kind_of, own_kind, pick_output, require_kind
from dimlift.data.issue import raise_on_errors
from dimlift.data.quality.check_dataset import check_dataset
from dimlift.data.read_cache import ROOM, ReadOnce
from dimlift.data.volume import Volume
from dimlift.errors import RunError
from dimlift.inference.ensemble import averaged, require_alike
from dimlift.inference.memory_estimate import footprints, require_memory
from dimlift.inference.point_predictor import is_of_points
from dimlift.inference.predict_point_clouds import predict_points
from dimlift.inference.predictor import Trained
from dimlift.progress import Event, Progress, silent
from dimlift.records.record import write_json
from dimlift.records.weights import read_card, weights_folder


def predict(
    run: Path | str | Sequence[Path | str],
    inputs: Sequence[Path | str],
    output: Path | str,
    progress: Progress = silent,
    max_memory: int | None = None,
    kind: str | None = None,
) -> list[Path]:
    """Segment, or classify, files or folders of files; clouds go to `predict_points`.

    Args:
        run: folder that `train` wrote, or any weights folder; of several the probabilities are averaged.
        inputs: files, folders of DICOM series, and folders of those. What is named CASE_0000, CASE_0001, ... are the
            channels of one case.
        output: folder; gets one file for each case, or for tasks about whole volumes one predictions.json. For a
            single case also the file itself.
        kind: one of `dimlift.data.io.writers.OUTPUTS`; None gives each input its own format, and a DICOM series a
            DICOM segmentation.
        max_memory: resident bytes the process may come to; more is refused before anything is predicted.

    Returns:
        what was written.

    Raises:
        RunError: if the run holds no weights, the output would take the place of an input, or memory will not do.
        DataError: if there is no input, or one that cannot be used as it is; nothing is predicted then.
    """
    folders = [weights_folder(Path(each)) for each in ([run] if isinstance(run, Path | str) else run)]
    if any(is_of_points(read_card(folder)) for folder in folders):
        if max_memory is not None:
            raise RunError(
                "max_memory is for volumes; clouds are read a fixed number of points at a time, leave it out"
            )
        return predict_points(folders, inputs, Path(output), progress, kind)
    members = [Trained.load(folder) for folder in folders]
    require_alike(members, folders)
    trained = members[0]
    if len(members) > 1 and max_memory is not None:
        raise RunError("max_memory is for one run; several hold the probabilities of a whole volume, leave it out")
    cases = find_inputs(inputs, trained.preprocessing.channels, trained.preprocessing.missing)
    output = Path(output)
    places: dict[str, tuple[Path, str]] = {}
    if trained.task.kind == "segmentation":
        places = _places(cases, output, kind)
        needed = footprints(trained, {case.name: [read_grid(f) for f in case.images if f.exists()] for case in cases})
        if max_memory is not None:
            require_memory(needed, max_memory)
        progress(Event("predict", message=str(needed[0])))
    elif max_memory is not None:
        raise RunError(f"max_memory is for segmentation; {trained.task.kind} reads a volume in one piece, leave it out")
    files = ReadOnce(read_file, lambda volume: volume.array.nbytes, math.inf if len(cases) == 1 else ROOM)
    check_inputs(trained, cases, progress, files.look)
    written: list[Path] = []
    answers: dict[str, dict[str, Any]] = {}
    for number, (name, images) in enumerate((case.name, case.images) for case in cases):
        weighed = None
        if len(members) > 1:
            answer, geometry = averaged(members, images, files.take)
        else:
            sample = trained.preprocessing.read_image(images, files.take)
            answer, geometry, weighed = trained.answer(sample), sample.geometry, trained.slice_weights(sample)
            del sample  # the image has done its part, and writing needs memory too
        if trained.task.kind == "segmentation":
            place, own = places[name]
            written.append(trained.preprocessing.write(place, answer, geometry, own))
        elif trained.task.kind == "classification":
            chances = softmax(answer, axis=-1)
            labels = list(trained.preprocessing.labels)
            shares = {label: float(chance) for label, chance in zip(labels, chances, strict=True)}
            answers[name] = {"class": labels[int(chances.argmax())], "probabilities": shares}
        else:
            answers[name] = {"value": float(answer[0])}
        if weighed is not None:
            axis, weights = weighed
            answers[name] |= {"slices": {"axis": axis, "most": int(np.argmax(weights)), "weights": weights}}
        progress(Event("predict", share=(number + 1) / len(cases)))
    if answers:
        output.mkdir(parents=True, exist_ok=True)
        written.append(write_json(output / "predictions.json", answers))
    return written


def check_inputs(
    trained: Trained, cases: Sequence[Case], progress: Progress = silent, read: Callable[[Path], Volume] = read_file
) -> None:
    """Read every input, whole, before the first is predicted.

    Raises:
        DataError: listing every input that cannot be used, and why.
    """
    preprocessing = trained.preprocessing
    wanted = Dataset(
        "inputs", Path(), (), preprocessing.channels, preprocessing.labels, trained.task.kind, test_cases=tuple(cases)
    )

    def heard(done: int, total: int) -> None:
        progress(Event("check", share=done / total))

    findings = check_dataset(
        wanted, preprocessing.nan_policy, heard, workers=1, missing=preprocessing.missing, read=read
    )
    raise_on_errors(findings)
    for finding in findings:
        progress(Event("check", share=1.0, message=f"warning: {finding}"))


def _places(cases: Sequence[Case], output: Path, kind: str | None) -> dict[str, tuple[Path, str]]:
    """Where the segmentation of each case goes, and in which format.

    Raises:
        RunError: if that is a file already that must not be lost, or no folder where one is wanted.
        DataError: if the format cannot be written for an input.
    """
    named = [known for known in OUTPUTS.values() if output.name.lower().endswith(known.suffixes)]
    if named and len(cases) == 1 and not output.is_dir():
        chosen = kind or kind_of(output)
        if not output.name.lower().endswith(pick_output(chosen).suffixes):
            raise RunError(f"{output} is no name for {chosen}; call it {output.stem}{OUTPUTS[chosen].suffixes[0]}")
        places = {cases[0].name: (output, chosen)}
    elif named or (output.exists() and not output.is_dir()):
        raise RunError(f"{output} is a file name, and there are {len(cases)} cases; give a folder to write them into")
    else:
        kinds = {case.name: kind or own_kind(case.images[0]) for case in cases}
        places = {name: (output / f"{name}{pick_output(own).suffixes[0]}", own) for name, own in kinds.items()}
    images = {image.resolve() for case in cases for image in case.images}
    for case in cases:
        place, own = places[case.name]
        require_kind(own, case.images[0])
        if place.resolve() in images:
            raise RunError(f"{place} is one of the images; its segmentation would overwrite it, give another output")
        if place.resolve().parent in images:
            raise RunError(f"{place} would lie among the slices of its own series; give another output")
    return places
