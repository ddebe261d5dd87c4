"""Use a trained run on clouds: a label for every point, in the order of its file, or a class for every cloud."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dimlift.data.datasets.point_clouds import case_name
from dimlift.data.io.point_cloud import READERS, read_cloud
from dimlift.data.io.point_cloud_writer import LABELLED, write_labelled
from dimlift.data.issue import Finding
from dimlift.data.read_cache import ReadOnce
from dimlift.errors import DataError, RunError, UnknownName
from dimlift.inference.point_predictor import TrainedPoints
from dimlift.progress import Event, Progress, silent
from dimlift.records.record import write_json


def predict_points(
    folders: Sequence[Path],
    inputs: Sequence[Path | str],
    output: Path,
    progress: Progress = silent,
    kind: str | None = None,
) -> list[Path]:
    """Label points, or classify clouds, of files or folders of files.

    Args:
        folders: weights folders; of several the probabilities are averaged.
        output: a .ply or .npz for one cloud, a folder for several; for tasks about whole clouds a folder, which gets
            one predictions.json.
        kind: "ply" or "npz" for what goes into a folder; None keeps .ply a .ply, and makes an .npz of all others.

    Returns:
        what was written; nothing, if any cloud cannot be read.

    Raises:
        RunError: if runs differ, or the output would take the place of an input.
        DataError: if there is no cloud, or one that cannot be used as it is.
    """
    members = [TrainedPoints.load(folder) for folder in folders]
    first = members[0]
    for member, folder in zip(members[1:], folders[1:], strict=True):
        if (member.task.kind, member.preprocessing.labels) != (first.task.kind, first.preprocessing.labels):
            raise RunError(f"{folders[0]} and {folder} differ in the task or its labels; average runs alike")
    clouds = find_clouds(inputs)
    segmenting = first.task.kind == "segmentation"
    places = _places(clouds, output, kind) if segmenting else {}
    files = ReadOnce(read_cloud, lambda cloud: cloud.nbytes)
    for number, file in enumerate(clouds.values()):
        looked_at = files.look(file)
        for member in members:
            member.preprocessing.unlabelled(looked_at)
        progress(Event("check", share=(number + 1) / len(clouds)))
    written: list[Path] = []
    answers: dict[str, dict[str, Any]] = {}
    labels = list(first.preprocessing.labels)
    for number, (name, file) in enumerate(clouds.items()):
        cloud = files.take(file)
        chances = np.mean([m.probabilities(m.preprocessing.unlabelled(cloud)) for m in members], axis=0)
        if segmenting:
            found = first.preprocessing.file_labels(chances.argmax(axis=1))
            written.append(write_labelled(places[name], cloud.points, found))
        else:
            shares = {label: float(chance) for label, chance in zip(labels, chances, strict=True)}
            answers[name] = {"class": labels[int(chances.argmax())], "probabilities": shares}
        progress(Event("predict", share=(number + 1) / len(clouds)))
    if answers:
        output.mkdir(parents=True, exist_ok=True)
        written.append(write_json(output / "predictions.json", answers))
    return written


def find_clouds(inputs: Sequence[Path | str]) -> dict[str, Path]:
    """Files of clouds by the name their answers get.

    Raises:
        DataError: if nothing is there, or two files have one name.
    """
    found: dict[str, Path] = {}
    for path in map(Path, inputs):
        if not path.exists():
            raise Finding(str(path), "error", "there is no such file or folder", "check the path").as_error()
        if path.is_file() and path.suffix.lower() not in READERS:
            raise UnknownName("kind of point cloud", path.suffix, READERS)
        inside = sorted(f for f in path.iterdir() if f.suffix.lower() in READERS) if path.is_dir() else [path]
        if not inside:
            raise Finding(str(path), "error", "holds no cloud", f"give a folder of {', '.join(READERS)}").as_error()
        for file in inside:
            if (other := found.setdefault(case_name(file.name), file)) != file:
                remedy = "predict them in two calls with different outputs, or rename one"
                raise Finding(str(file), "error", f"has the name of {other}", remedy).as_error()
    if not found:
        raise DataError("no input given; name clouds or folders of clouds")
    return found


def _places(clouds: dict[str, Path], output: Path, kind: str | None) -> dict[str, Path]:
    """Where the labels of each cloud go.

    Raises:
        RunError: if that is a file already that must not be lost, or no folder where one is wanted.
    """
    if kind is not None and f".{kind}" not in LABELLED:
        raise UnknownName("format", kind, [suffix[1:] for suffix in LABELLED])
    if output.suffix in LABELLED and not output.is_dir():
        if len(clouds) > 1:
            raise RunError(f"{output} is a file name, and there are {len(clouds)} clouds; give a folder for them")
        if kind is not None and output.suffix != f".{kind}":
            raise RunError(f"{output} is no name for {kind}; call it {output.with_suffix(f'.{kind}').name}")
        places = dict.fromkeys(clouds, output)
    elif (output.suffix and not output.is_dir() and output.suffix in READERS) or output.is_file():
        raise RunError(f"{output} cannot hold labels of points; end its name in {' or '.join(LABELLED)}")
    else:
        own = {
            name: f".{kind}" if kind else ".ply" if file.suffix == ".ply" else ".npz" for name, file in clouds.items()
        }
        places = {name: output / f"{name}{suffix}" for name, suffix in own.items()}
    taken = {file.resolve() for file in clouds.values()}
    for place in places.values():
        if place.resolve() in taken:
            raise RunError(f"{place} is one of the clouds; its labels would overwrite it, give another output")
    return places
