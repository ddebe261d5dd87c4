"""Predict files with a trained run, or with the mean of several: labels in the frame of each file."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dimlift.data.read_cache import CACHE_BYTES, ReadCache
from dimlift.errors import RunError
from dimlift.inference.ensemble import predict_case, require_compatible
from dimlift.inference.memory_estimate import require_memory
from dimlift.inference.output_paths import plan_outputs
from dimlift.inference.predictor import Predictor
from dimlift.progress import Event, Progress, no_progress
from dimlift.records.record import write_json
from dimlift.records.weights import weights_folder

PREDICTIONS = "predictions.json"


def predict(
    run: Path | str | Sequence[Path | str],
    inputs: Sequence[Path | str],
    output: Path | str,
    progress: Progress = no_progress,
    max_memory: int | None = None,
    output_format: str | None = None,
) -> list[Path]:
    """Predict files or folders of files.

    Args:
        run: folder that `train` wrote, or any weights folder; the probabilities of several are averaged.
        inputs: volumes (files, DICOM series, folders of those; CASE_0000, CASE_0001, ... are the channels of one case),
            or point clouds (files and folders), whichever the run was trained on.
        output: folder; receives one file for each case, or one predictions.json for tasks about whole cases. For a
            single case also the file itself.
        max_memory: resident bytes the process may reach; more is refused before anything is predicted.
        output_format: of volumes one of `dimlift.data.io.writers.LABEL_FORMATS`, of point clouds "ply" or "npz"; None
            takes the format of each input, and for a DICOM series a DICOM segmentation.

    Returns:
        the files written.

    Raises:
        RunError: if the run holds no weights, runs differ, the output would replace an input, or memory does not
            suffice.
        DataError: if there is no input, or one that cannot be used; nothing is predicted then.
    """
    folders = [weights_folder(Path(each)) for each in ([run] if isinstance(run, Path | str) else run)]
    members = [Predictor.load(folder) for folder in folders]
    require_compatible(members, folders)
    first, modality, output = members[0], members[0].modality, Path(output)
    segmenting = first.task.kind == "segmentation"
    if len(members) > 1 and max_memory is not None:
        raise RunError("max_memory is for one run; several hold the probabilities of a whole volume, leave it out")
    cases = modality.find_inference_cases(first.preprocessing, inputs)
    outputs = plan_outputs(modality, cases, output, output_format) if segmenting else {}
    estimates = modality.estimate_memory(first, cases)
    if max_memory is not None:
        if not estimates:
            raise RunError("max_memory is for the segmentation of volumes; leave it out")
        require_memory(estimates, max_memory)
    if estimates:
        progress(Event("predict", message=str(estimates[0])))
    files = ReadCache(modality.read_file, modality.file_bytes, math.inf if len(cases) == 1 else CACHE_BYTES)
    modality.check_inputs(members, cases, files.peek, progress)
    written: list[Path] = []
    rows: dict[str, dict[str, Any]] = {}
    for number, case in enumerate(cases):
        found, source, explanation = predict_case(members, case.images, files.pop)
        if segmenting:
            path, chosen = outputs[case.name]
            written.append(modality.write_labels(first.preprocessing, path, found, source, chosen))
        else:
            rows[case.name] = {**_row(first, found), **explanation}
        progress(Event("predict", fraction=(number + 1) / len(cases)))
    if rows:
        output.mkdir(parents=True, exist_ok=True)
        written.append(write_json(output / PREDICTIONS, rows))
    return written


def _row(predictor: Predictor, found: Any) -> dict[str, Any]:
    """Return the entry of one case in predictions.json."""
    if predictor.task.kind == "regression":
        return {"value": float(found[0])}
    labels = list(predictor.preprocessing.labels)
    probabilities = {label: float(value) for label, value in zip(labels, found, strict=True)}
    return {"class": labels[int(found.argmax())], "probabilities": probabilities}
