"""Run the stages in their order, report what each adds, and leave weights that arms can start from."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

from dimlift.config.sections import DatasetSection
from dimlift.data.case import Case
from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.issue import raise_on_errors
from dimlift.data.quality.check_dataset import check_dataset
from dimlift.data.quality.content_hash import fingerprints
from dimlift.errors import DataError
from dimlift.inference.predictor import Trained
from dimlift.progress import Event, Progress, silent
from dimlift.records.record import write_json
from dimlift.records.weights import write_weights
from dimlift.studies.run_folder import claimed
from dimlift.studies.self_training.config import StagesConfig
from dimlift.studies.self_training.rounds import Line, Row, over_folds, rounds
from dimlift.studies.self_training.students import of_voxels, of_voxels_and_classes
from dimlift.studies.train import train
from dimlift.training.initialise import learning_network

REPORT = "stages.json"


def run_stages(config: StagesConfig, out: Path | str, progress: Progress = silent) -> list[Row]:
    """Run every stage; what was finished before an interruption is not done again.

    Leaves in `out`: stages.json (what each stage came to), weights/ (what arms start from, refined on all labels), a
    folder for each stage with the runs of every fold and round.

    Raises:
        DataError: if the pool holds a labelled volume, or files are not sound.
        RunError: if the folder holds another run.
    """
    out = Path(out)
    labelled = open_dataset(config.labelled.path, config.labelled.layout)
    seen = {found for case in labelled.cases for found in fingerprints(case)}
    known = frozenset(seen)
    pools = {
        stage: _pool(section, stage, known, seen, progress)
        for stage, section in (("segmia", config.unlabelled), ("multitask", config.classified))
        if stage in config.stages and section is not None
    }
    content = config.model_dump(mode="json")
    facts = {
        **content,
        "labelled": labelled.manifest_hash(),
        "unlabelled": None,
        "classified": None,
        "seen": sorted(seen),
    }
    identity = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    rows: list[Row] = []

    def tell(row: Row) -> None:
        rows.append(row)
        write_json(out / REPORT, [asdict(each) for each in rows])
        dice = "" if row.dice is None else f"Dice {row.dice:.4f}"
        progress(Event("done", f"{row.stage} {row.round or ''}".strip(), 1.0, message=dice or row.note))

    with claimed(out, "pretrain", identity, content):
        folds: dict[int, Path | None] = dict.fromkeys(range(config.folds))
        if config.baseline and "imagenet" in config.stages and hasattr(config.student, "pretrained"):
            line, seconds = over_folds(config, out / "random", folds, progress, random=True)
            tell(Row("random weights", 0, line.dice, seconds, kept=False))
        line, seconds = over_folds(config, out / "segmentation", folds, progress)
        tell(Row("imagenet + segmentation" if "imagenet" in config.stages else "segmentation", 0, line.dice, seconds))
        for stage, pool in pools.items():
            answers = {case.name: int(case.label) for case in pool if isinstance(case.label, int)}
            student = (
                of_voxels(config, progress) if stage == "segmia" else of_voxels_and_classes(config, answers, progress)
            )
            line = rounds(config, stage, out / stage, line, pool, student, tell, progress)
        _finish(config, out, line, sorted(seen), rows, progress)
        write_json(out / REPORT, [asdict(each) for each in rows])
    return rows


def _pool(section: DatasetSection, stage: str, known: frozenset[str], seen: set[str], progress: Progress) -> list[Case]:
    """Volumes to be pseudo-labelled; with their class for `multitask`. Adds the fingerprints of their images to `seen`.

    Raises:
        DataError: if one of them is a labelled volume, has no class, or is not sound.
    """
    wanted = "classification" if stage == "multitask" else "segmentation"
    dataset = open_dataset(section.path, section.layout, wanted)  # type: ignore[arg-type]
    cases = [*dataset.cases, *(dataset.test_cases if stage == "segmia" else ())]
    if stage == "segmia":
        cases = [replace(case, label=None) for case in cases]
    digests = {case.name: set(fingerprints(case)) for case in cases}
    shared = [name for name, own in digests.items() if own & known]
    if shared:
        names = ", ".join(shared[:5]) + (f" and {len(shared) - 5} more" if len(shared) > 5 else "")
        raise DataError(
            f"{section.path} holds {len(shared)} of the labelled volumes, each of which tests in one fold: {names}; "
            f"take them out of {section.path}, or out of labelled.path"
        )
    nameless = [case.name for case in cases if stage == "multitask" and not isinstance(case.label, int)]
    if nameless:
        raise DataError(
            f"{section.path} tells no class of {', '.join(nameless[:5])}; multitask learns one for each volume: give "
            "a CSV table with the columns image and label as classified.path"
        )
    bare = replace(dataset, cases=(), test_cases=tuple(replace(case, label=None) for case in cases))
    raise_on_errors(check_dataset(bare, "error", lambda done, total: progress(Event("check", share=done / total))))
    seen.update(*digests.values())
    return cases


def _finish(config: StagesConfig, out: Path, line: Line, seen: list[str], rows: list[Row], progress: Progress) -> None:
    """Refine the best student on all labels and write what arms start from."""
    start = line.students[0]
    lesson = config.lesson(config.labelled, fold=None, start=None if start is None else str(start))
    record = train(lesson, out / "final", progress)
    trained = Trained.load(out / "final" / "weights")
    card = {
        "task": "pretraining",
        "method": "stages",
        "channels": list(trained.preprocessing.channels),
        "labels": trained.preprocessing.labels,
        "student": config.student.model_dump(mode="json"),
        "steps": record.steps,
        "seconds": sum(row.seconds for row in rows) + record.seconds,
        "stages": [asdict(row) for row in rows],
        "teachers": [str(path.relative_to(out)) for path in line.teachers.values()],
        "seen": seen,
    }
    write_weights(out / "weights", learning_network(trained.method).state_dict(), card)
