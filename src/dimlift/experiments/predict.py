"""Use a trained run on files: one answer for each input, on exactly the grid of its file."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from dimlift.data.formats import read_grid, stem_of
from dimlift.data.nifti import SUFFIXES
from dimlift.errors import DataError, RunError
from dimlift.experiments.footprint import footprints, require_memory
from dimlift.experiments.progress import Event, Progress, silent
from dimlift.experiments.scoring import softmax
from dimlift.experiments.trained import Trained
from dimlift.records.record import write_json
from dimlift.records.weights import CARD_NAME

_CHANNEL = re.compile(r"^(?P<case>.+)_(?P<channel>\d{4})$")


def predict(
    run: Path | str,
    inputs: Sequence[Path | str],
    output: Path | str,
    progress: Progress = silent,
    max_memory: int | None = None,
) -> list[Path]:
    """Segment, or classify, files or folders of files.

    Args:
        run: folder that `train` wrote, or any weights folder.
        inputs: NIfTI files and folders of them. Files named CASE_0000, CASE_0001, ... are the channels of one case.
        output: folder; gets CASE.nii.gz for each case, or for tasks about whole volumes one predictions.json. For a
            single case also the NIfTI file itself.
        max_memory: resident bytes the process may come to; more is refused before anything is predicted.

    Returns:
        what was written.

    Raises:
        RunError: if the run holds no weights, the output would take the place of an input, or memory will not do.
        DataError: if there is no input, or it has other channels than the run was trained on.
    """
    trained = Trained.load(weights_folder(Path(run)))
    cases = find_cases([Path(path) for path in inputs], len(trained.preprocessing.channels))
    output = Path(output)
    places = _places(cases, output)
    if trained.task.kind == "segmentation":
        needed = footprints(trained, {name: [read_grid(file) for file in files] for name, files in cases.items()})
        if max_memory is not None:
            require_memory(needed, max_memory)
        progress(Event("predict", message=str(needed[0])))
    elif max_memory is not None:
        raise RunError(f"max_memory is for segmentation; {trained.task.kind} reads a volume in one piece, leave it out")
    written: list[Path] = []
    answers: dict[str, object] = {}
    for number, (name, images) in enumerate(cases.items()):
        sample = trained.preprocessing.read_image(images)
        answer = trained.answer(sample)
        geometry = sample.geometry
        del sample  # the image has done its part, and writing needs memory too
        if trained.task.kind == "segmentation":
            written.append(trained.preprocessing.write(places[name], answer, geometry))
        elif trained.task.kind == "classification":
            chances = softmax(answer)
            labels = list(trained.preprocessing.labels)
            shares = {label: float(chance) for label, chance in zip(labels, chances, strict=True)}
            answers[name] = {"class": labels[int(chances.argmax())], "probabilities": shares}
        else:
            answers[name] = {"value": float(answer[0])}
        progress(Event("predict", share=(number + 1) / len(cases)))
    if answers:
        output.mkdir(parents=True, exist_ok=True)
        written.append(write_json(output / "predictions.json", answers))
    return written


def _places(cases: Mapping[str, Sequence[Path]], output: Path) -> dict[str, Path]:
    """Where the segmentation of each case goes.

    Raises:
        RunError: if that is a file already that must not be lost, or no folder where one is wanted.
    """
    if output.name.endswith(SUFFIXES) and len(cases) == 1 and not output.is_dir():
        places = dict.fromkeys(cases, output)
    elif output.name.endswith(SUFFIXES) or (output.exists() and not output.is_dir()):
        raise RunError(f"{output} is a file name, and there are {len(cases)} cases; give a folder to write them into")
    else:
        places = {name: output / f"{name}.nii.gz" for name in cases}
    images = {image.resolve() for parts in cases.values() for image in parts}
    for place in places.values():
        if place.resolve() in images:
            raise RunError(f"{place} is one of the images; its segmentation would overwrite it, give another output")
    return places


def weights_folder(run: Path) -> Path:
    """The weights folder of a run: itself, or weights/ inside, or the only one of a study.

    Raises:
        RunError: if there is none, or several.
    """
    if not run.is_dir():
        raise RunError(f"there is no run {run}; give a folder that `dimlift train` wrote")
    for folder in (run, run / "weights"):
        if (folder / CARD_NAME).is_file():
            return folder
    cells = sorted(card.parent for card in (run / "weights").glob(f"*/{CARD_NAME}"))
    if len(cells) == 1:
        return cells[0]
    if cells:
        shown = "\n  ".join(f"{cell}  {_arm_of(run, cell.name)}" for cell in cells[:20])
        raise RunError(f"{run} holds the weights of {len(cells)} cells; give one of them:\n  {shown}")
    raise RunError(
        f"{run} holds no {CARD_NAME}: training has not come to its end; start `dimlift train` again to go on"
    )


def find_cases(inputs: Sequence[Path], channels: int) -> dict[str, tuple[Path, ...]]:
    """Cases by name, each with its channel files in order.

    Raises:
        DataError: if nothing is found, two cases have one name, or a case has too few or too many channels.
    """
    files: list[Path] = []
    for path in inputs:
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.name.endswith(SUFFIXES) and not p.name.startswith("."))
            if not found:
                raise DataError(f"{path} holds no {' or '.join(SUFFIXES)} file; give a folder with volumes")
            files += found
        elif path.is_file():
            files.append(path)
        else:
            raise DataError(f"there is no file or folder {path}; check the path")
    if not files:
        raise DataError("no input given; name volumes or folders of volumes")
    cases: dict[str, dict[int, Path]] = {}
    for file in files:
        match = _CHANNEL.match(stem_of(file))
        name, channel = (match["case"], int(match["channel"])) if match else (stem_of(file), 0)
        others = cases.setdefault(name, {})
        if channel in others:
            raise DataError(f"{file} and {others[channel]} would both be written to {name}.nii.gz; predict them apart")
        others[channel] = file
    for name, parts in cases.items():
        if sorted(parts) != list(range(channels)) and not (len(parts) == 1 and 0 in parts):
            shown = ", ".join(str(parts[channel]) for channel in sorted(parts))
            raise DataError(
                f"case {name} has {len(parts)} channel file(s) ({shown}), the run was trained on {channels}; "
                f"give {name}_0000 to {name}_{channels - 1:04d}"
            )
    return {name: tuple(parts[channel] for channel in sorted(parts)) for name, parts in cases.items()}


def _arm_of(run: Path, cell: str) -> str:
    """What a person calls a cell."""
    try:
        record = json.loads((run / "records" / f"{cell}.json").read_text(encoding="utf-8"))
        return f"{record['arm']}, fold {record['fold']}, seed {record['seed']}"
    except (OSError, ValueError, KeyError):
        return ""
