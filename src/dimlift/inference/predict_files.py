"""Predict files with a trained run, or with the mean of several: labels in the frame of each file."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dimlift.data.case import Case
from dimlift.data.issue import Issue, issue_from_error, raise_on_errors
from dimlift.errors import ConfigError, DataError, RunError
from dimlift.inference.departures import departure_issue
from dimlift.inference.ensemble import CasePrediction, predict_case, require_compatible
from dimlift.inference.largest_component import class_indices_named
from dimlift.inference.output_paths import plan_outputs
from dimlift.inference.prediction_report import PredictionReport, report_path, require_free_reports
from dimlift.inference.predictor import Predictor
from dimlift.inference.usable_cases import UsableCases, check_cases
from dimlift.progress import Event, Progress, no_progress
from dimlift.records.csv_text import to_csv
from dimlift.records.record import write_json, write_text
from dimlift.records.weights import weights_folder

PREDICTIONS, PREDICTIONS_TABLE = "predictions.json", "predictions.csv"


def predict(
    run: Path | str | Sequence[Path | str],
    inputs: Sequence[Path | str],
    output: Path | str,
    progress: Progress = no_progress,
    max_memory: int | None = None,
    output_format: str | None = None,
    strict: bool = False,
    keep_largest: Sequence[str] = (),
    on_skip: Callable[[Issue], None] | None = None,
) -> list[Path]:
    """Predict files or folders of files.

    Beside each file of labels lies a JSON of the same stem: version, SHA-256 of the weights, warnings, coverage.

    Args:
        run: folder that `train` wrote, or any weights folder; the probabilities of several are averaged.
        inputs: volumes (files, DICOM series, folders of those; CASE_0000, CASE_0001, ... are the channels of one case),
            or point clouds (files and folders), whichever the run was trained on.
        output: folder; receives one file for each case, or predictions.json and predictions.csv for tasks about whole
            cases. For a single segmentation also the file itself.
        max_memory: resident bytes the process may reach; more is refused before anything is predicted.
        output_format: of volumes one of `dimlift.data.io.writers.LABEL_FORMATS`, of point clouds "ply" or "npz"; None
            takes the format of each input, and for a DICOM series a DICOM segmentation.
        strict: refuse cases outside the range of the training cases (intensities, spacing, extent, orientation,
            predicted volume of a class), which are otherwise a warning. Nothing is written for such a case.
        keep_largest: labels of which only the largest connected component is kept.
        on_skip: leave out cases that cannot be used, and call this for each; None refuses before any case is
            predicted.

    Returns:
        the files of labels, or predictions.json and predictions.csv.

    Raises:
        ConfigError: if a label of `keep_largest` is not predicted, or the run does not segment volumes.
        RunError: if the run holds no weights, runs differ, the output would replace an input, memory does not
            suffice, or outputs of the network are not finite.
        DataError: if there is no input, or one that cannot be used; nothing is predicted then.
    """
    folders = [weights_folder(Path(each)) for each in ([run] if isinstance(run, Path | str) else run)]
    members = [Predictor.load(folder) for folder in folders]
    require_compatible(members, folders)
    first, modality, output = members[0], members[0].modality, Path(output)
    segmenting = first.task.kind == "segmentation"
    if len(members) > 1 and max_memory is not None:
        raise RunError("max_memory is for one run; several hold the probabilities of a whole volume, leave it out")
    if keep_largest and not (segmenting and modality.name == "volumes"):
        raise ConfigError("components are those of a segmentation of volumes; leave out --keep-largest")
    largest = class_indices_named(keep_largest, first.preprocessing.class_indices) if keep_largest else []
    cases = modality.find_inference_cases(first.preprocessing, inputs, on_skip)
    outputs = plan_outputs(modality, cases, output, output_format) if segmenting else {}
    reports = {name: report_path(path, modality.output_suffixes[chosen]) for name, (path, chosen) in outputs.items()}
    require_free_reports(list(reports.values()), cases)
    usable = check_cases(members, cases, progress, max_memory=max_memory, strict=strict, on_skip=on_skip)
    failed, written, rows = list[Issue](), list[Path](), dict[str, dict[str, Any]]()
    for number, case in enumerate(usable.cases):
        try:
            found = predict_case(members, case.images, usable.read, largest)
            report = _report(members, case, found, usable, strict)
        except (DataError, RunError) as error:
            if on_skip is None:
                raise
            failed.append(issue_from_error(error, case.images[0]))
            continue
        for sentence in report.warnings:
            progress(Event("predict", message=f"warning: {case.name}: {sentence}"))
        if segmenting:
            path, chosen = outputs[case.name]
            written.append(modality.write_labels(first.preprocessing, path, found.found, found.source, chosen))
            report.save(reports[case.name])
        else:
            rows[case.name] = {**_row(first, found.found), **found.explanation, "report": report.to_json()}
        progress(Event("predict", fraction=(number + 1) / len(usable.cases)))
    if not (written or rows):
        raise_on_errors(failed)
    if rows:
        output.mkdir(parents=True, exist_ok=True)
        written += [
            write_json(output / PREDICTIONS, rows),
            write_text(output / PREDICTIONS_TABLE, to_csv(_table(rows))),
        ]
    if on_skip is not None:
        for issue in failed:
            on_skip(issue)
    return written


def _report(
    members: Sequence[Predictor], case: Case, found: CasePrediction, usable: UsableCases, strict: bool
) -> PredictionReport:
    """Return the report of a case.

    Raises:
        DataError: under `strict`, if the predicted foreground lies outside the range of the training cases.
    """
    held, departures = usable.training_range, list[str]()
    if held is not None:
        departures = held.foreground_departures(found.foreground_ml)
    if departures and strict:
        raise departure_issue(departures, str(case.images[0])).as_error()
    names, digests = [image.name for image in case.images], [member.weights_sha256 for member in members]
    warnings = [*usable.warnings.get(case.name, ()), *departures]
    return PredictionReport(case.name, names, digests, warnings, found.coverage, held is not None, found.foreground_ml)


def _row(predictor: Predictor, found: Any) -> dict[str, Any]:
    """Return the entry of one case in predictions.json."""
    if predictor.task.kind == "regression":
        return {"value": float(found[0])}
    labels = list(predictor.preprocessing.labels)
    probabilities = {label: float(value) for label, value in zip(labels, found, strict=True)}
    return {"class": labels[int(found.argmax())], "probabilities": probabilities}


def _table(rows: dict[str, dict[str, Any]]) -> list[list[Any]]:
    """Return header and rows: the case, then its value, or its class and the probability of every class."""
    first = next(iter(rows.values()))
    if "value" in first:
        return [["case", "value"], *([name, row["value"]] for name, row in rows.items())]
    header = ["case", "class", *(f"probability of {label}" for label in first["probabilities"])]
    return [header, *([name, row["class"], *row["probabilities"].values()] for name, row in rows.items())]
