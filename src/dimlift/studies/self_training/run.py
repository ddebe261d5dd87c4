"""Run the stages of self-training, report the effect of each, and write weights that arms can be initialised from."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

from dimlift.config.sections import DatasetSection
from dimlift.data.case import Case
from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.issue import raise_on_errors
from dimlift.data.quality.check_dataset import check_dataset
from dimlift.data.quality.content_hash import case_hashes
from dimlift.errors import DataError
from dimlift.inference.predictor import Predictor
from dimlift.progress import Event, Progress, no_progress
from dimlift.records.record import write_json
from dimlift.records.weights import write_weights
from dimlift.studies.run_folder import lock_run_folder
from dimlift.studies.self_training.config import SelfTrainingConfig
from dimlift.studies.self_training.rounds import RoundResult, RoundState, cross_validate, run_rounds
from dimlift.studies.self_training.students import multitask_student, segmentation_student
from dimlift.studies.train import train

REPORT = "stages.json"


def self_train(config: SelfTrainingConfig, out: Path | str, progress: Progress = no_progress) -> list[RoundResult]:
    """Run every stage; stages that were finished before an interruption are not repeated.

    Writes to `out`: stages.json (the result of each stage), weights/ (for `init_from` of an arm, fine-tuned on all
    labels), and one folder per stage with the runs of every cv fold and round.

    Raises:
        DataError: if an unlabelled volume is also in the labelled set, or files are corrupt.
        RunError: if the folder holds another run.
    """
    out = Path(out)
    labelled = open_dataset(config.labelled.path, config.labelled.layout)
    seen = {digest for case in labelled.cases for digest in case_hashes(case)}
    labelled_hashes = frozenset(seen)
    pools = {
        stage: _open_pool(section, stage, labelled_hashes, seen, progress)
        for stage, section in (("segmia", config.unlabelled), ("multitask", config.classification))
        if stage in config.stages and section is not None
    }
    content = config.model_dump(mode="json")
    hashed = content | {"labelled": labelled.manifest_hash(), "unlabelled": None, "classification": None}
    hashed["seen"] = sorted(seen)
    identity = hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()
    results: list[RoundResult] = []

    def on_round(result: RoundResult) -> None:
        results.append(result)
        write_json(out / REPORT, [asdict(each) for each in results])
        dice = "" if result.dice is None else f"Dice {result.dice:.4f}"
        progress(Event("done", f"{result.stage} {result.round or ''}".strip(), 1.0, message=dice or result.note))

    with lock_run_folder(out, "pretrain", identity, content):
        initial: dict[int, Path | None] = dict.fromkeys(range(config.folds))
        if config.baseline and "imagenet" in config.stages and hasattr(config.arm, "pretrained"):
            state, seconds = cross_validate(config, out / "random", initial, progress, random=True)
            on_round(RoundResult("random weights", 0, state.dice, seconds, kept=False))
        state, seconds = cross_validate(config, out / "segmentation", initial, progress)
        name = "imagenet + segmentation" if "imagenet" in config.stages else "segmentation"
        on_round(RoundResult(name, 0, state.dice, seconds))
        for stage, pool in pools.items():
            classes = {case.name: int(case.label) for case in pool if isinstance(case.label, int)}
            train_student = (
                segmentation_student(config, progress)
                if stage == "segmia"
                else multitask_student(config, classes, progress)
            )
            state = run_rounds(config, stage, out / stage, state, pool, train_student, on_round, progress)
        _write_final_weights(config, out, state, sorted(seen), results, progress)
        write_json(out / REPORT, [asdict(each) for each in results])
    return results


def _open_pool(
    section: DatasetSection, stage: str, labelled: frozenset[str], seen: set[str], progress: Progress
) -> list[Case]:
    """Return the volumes to pseudo-label, for `multitask` with their class, and add their hashes to `seen`.

    Raises:
        DataError: if one of them is also in the labelled set, has no class, or is corrupt.
    """
    task = "classification" if stage == "multitask" else "segmentation"
    dataset = open_dataset(section.path, section.layout, task)  # type: ignore[arg-type]
    cases = [*dataset.cases, *(dataset.test_cases if stage == "segmia" else ())]
    if stage == "segmia":
        cases = [replace(case, label=None) for case in cases]
    digests = {case.name: set(case_hashes(case)) for case in cases}
    shared = [name for name, own in digests.items() if own & labelled]
    if shared:
        names = ", ".join(shared[:5]) + (f" and {len(shared) - 5} more" if len(shared) > 5 else "")
        raise DataError(
            f"{section.path} holds {len(shared)} of the labelled volumes, each of which is a test case of one cv fold: "
            f"{names}; remove them from {section.path}, or from labelled.path"
        )
    without_class = [case.name for case in cases if stage == "multitask" and not isinstance(case.label, int)]
    if without_class:
        raise DataError(
            f"{section.path} has no class for {', '.join(without_class[:5])}, but multitask needs one per volume; set "
            "classification.path to a CSV table with the columns image and label"
        )
    unlabelled = replace(dataset, cases=(), test_cases=tuple(replace(case, label=None) for case in cases))

    def on_progress(done: int, total: int) -> None:
        progress(Event("check", fraction=done / total))

    raise_on_errors(check_dataset(unlabelled, "error", on_progress))
    seen.update(*digests.values())
    return cases


def _write_final_weights(
    config: SelfTrainingConfig,
    out: Path,
    state: RoundState,
    seen: list[str],
    results: list[RoundResult],
    progress: Progress,
) -> None:
    """Fine-tune the best student on all labels and write the weights folder."""
    student = state.students[0]
    run = config.training_config(config.labelled, fold=None, init_from=None if student is None else str(student))
    record = train(run, out / "final", progress)
    predictor = Predictor.load(out / "final" / "weights")
    card = {
        "modality": predictor.modality.name,
        "task": "pretraining",
        "method": "self_training",
        "channels": list(predictor.preprocessing.channels),
        "labels": predictor.preprocessing.labels,
        "arm": config.arm.model_dump(mode="json"),
        "steps": record.steps,
        "seconds": sum(result.seconds for result in results) + record.seconds,
        "stages": [asdict(result) for result in results],
        "teachers": [str(path.relative_to(out)) for path in state.teachers.values()],
        "seen": seen,
    }
    write_weights(out / "weights", predictor.method.trainable_network().state_dict(), card)
