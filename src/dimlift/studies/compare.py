"""Run a study: arms x fractions x folds x seeds, each cell once, wherever it runs."""

import hashlib
import json
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from dimlift.config.sections import ResourcesSection
from dimlift.data.case import Dataset
from dimlift.methods.baselines.external import ExternalArm
from dimlift.progress import Event, Progress, Stage, silent
from dimlift.records import study as plan
from dimlift.records.record import Record, load_records
from dimlift.records.weights import read_card
from dimlift.studies.attempt import attempt, failed, places_of
from dimlift.studies.executors.job import Machines, Task, tasks_of
from dimlift.studies.run import finished_record, summary
from dimlift.studies.run_config import StudyConfig, TrainConfig
from dimlift.studies.run_folder import claimed
from dimlift.studies.split import split_cases
from dimlift.studies.train import open_checked
from dimlift.training.distributed import require_alone
from dimlift.training.reproducibility import promise
from dimlift.training.signals import heeded


def compare(
    config: StudyConfig,
    out: Path | str,
    progress: Progress = silent,
    only: Collection[str] | None = None,
    runs: Machines | None = None,
) -> list[Record]:
    """Run every cell of a study that has no finished record yet.

    Arms take turns within each seed, so that whatever a machine does over the hours falls on all of them alike, and an
    interrupted study compares whole rounds. A cell that fails leaves a record that says why; the study goes on.

    Leaves in `out`: study.json, config.yaml, records/, weights/<cell>/, predictions/<cell>/, attempts/<cell>.

    Args:
        only: run the cells of these arms now; the study and its plan stay whole.
        runs: who runs the cells (`dimlift.experiments.machines`); this process, one after the other, if not said.

    Returns:
        one record for each cell that was wanted.

    Raises:
        DataError: if the data does not pass its checks.
        RunError: if the folder holds another study.
        Stopped: when asked to by SIGTERM or SIGUSR1; the same call goes on.
    """
    require_alone("compare", "share a study out with --on ray or --on slurm")
    out = Path(out)
    dataset = open_checked(config, progress)
    progress(Event("check", share=1.0, message=f"reproducibility: {promise(config.budget, config.training)}"))
    cells = planned(config)
    content = config.model_dump(mode="json")
    with heeded(), claimed(out, "compare", _identity(config, dataset), content):
        _set_aside(config, dataset, out / "records")
        _describe(config, dataset, cells, out)
        wanted = [cell for cell in cells if only is None or cell.name in only]
        records = list(
            _here(wanted, dataset, out, progress)
            if runs is None
            else _elsewhere(wanted, dataset, out, progress, runs, config.resources)
        )
        _describe(config, dataset, cells, out)
        return records


def planned(config: StudyConfig) -> list[TrainConfig]:
    """The cells in the order they run: seeds outermost, arms innermost."""
    turns = product(config.seeds, config.fractions, config.folds, config.arms)
    return [
        config.run(arm, fraction=share, fold=fold, seed=seed)
        for seed, share, fold, arm in turns
        if not isinstance(own := config.arms[arm], ExternalArm) or own.runs(share, seed, config.fractions, config.seeds)
    ]


def _here(cells: list[TrainConfig], dataset: Dataset, out: Path, progress: Progress) -> Iterator[Record]:
    """In this process, one cell after the other."""
    for number, cell in enumerate(cells, start=1):

        def heard(event: Event, number: int = number) -> None:
            progress(replace(event, cell=number, cells=len(cells)))

        yield attempt(cell, dataset, out, heard)


def _elsewhere(
    cells: list[TrainConfig], dataset: Dataset, out: Path, progress: Progress, runs: Machines, wanted: ResourcesSection
) -> Iterator[Record]:
    """In other processes or machines; cells that have a finished record do not travel."""
    tasks = tasks_of(cells, dataset, out)
    found = [(task, finished_record(places_of(task.cell, out), task.cell)) for task in tasks]
    missing = [task for task, record in found if record is None]
    done = len(tasks) - len(missing)
    if done:
        message = f"{done} of {len(tasks)} cells are finished already"
        progress(Event("skip", share=1.0, cell=done, cells=len(tasks), message=message))
    yield from (record for _, record in found if record is not None)
    with closing(runs(missing, wanted)) as ends:
        for number, (task, fault) in enumerate(ends, start=done + 1):
            record = _left_by(task, fault, out)
            said = summary(record) if record.status == "finished" else record.extra["reason"]
            stage: Stage = "done" if record.status == "finished" else "failed"
            progress(Event(stage, task.config.name, 1.0, record.steps, cell=number, cells=len(tasks), message=said))
            yield record


def _left_by(task: Task, fault: str, out: Path) -> Record:
    """The record of a cell that has ended; one is written where none came back. A finished one always stands."""
    places = places_of(task.cell, out)
    path = places.records / f"{task.cell}.json"
    if (record := finished_record(places, task.cell)) is not None:
        return record
    if path.is_file() and not fault:
        return Record.load(path)
    return failed(task.config, task.cell, fault or f"its machine left no record in {places.records}", out)


def _identity(config: StudyConfig, dataset: Dataset) -> str:
    """The same as long as cells of the one can stand beside cells of the other; arms and seeds may be added."""
    content = config.model_dump(mode="json", include={"task", "preprocessing", "split", "budget"})
    if config.clouds is not None:
        content["clouds"] = config.clouds.model_dump(mode="json", exclude={"path", "skip_bad"})
    content["data"] = dataset.manifest_hash()
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _set_aside(config: StudyConfig, dataset: Dataset, records: Path) -> None:
    """Move records out of the way that an arm left before its options were changed: they are not of this study."""
    manifest = dataset.manifest_hash()
    for path in sorted(records.glob("*.json")):
        record = Record.load(path)
        if record.arm not in config.arms:
            continue  # the report leaves them out, and the arm may come back
        now = config.run(record.arm, fraction=record.fraction, fold=record.fold, seed=record.seed)
        if now.cell(manifest) != record.cell:
            aside = records / "superseded"
            aside.mkdir(exist_ok=True)
            path.rename(aside / path.name)


def _describe(config: StudyConfig, dataset: Dataset, cells: list[TrainConfig], out: Path) -> None:
    """Write study.json: what is planned, and what is known of the arms so far."""
    known: dict[str, plan.Arm] = {}
    manifest = dataset.manifest_hash()
    for name, arm in config.arms.items():
        card: dict[str, Any] = {}
        parameters = None
        for cell in (c.cell(manifest) for c in cells if c.name == name):
            record_path, weights = out / "records" / f"{cell}.json", out / "weights" / cell
            if record_path.is_file() and (weights / "model.json").is_file():
                card = read_card(weights)
                parameters = Record.load(record_path).extra.get("parameters")
                break
        known[name] = plan.Arm(
            arm.title or name, arm.description, card.get("certificate"), parameters, card.get("provenance")
        )
    tested = {case.name: case for cell in cells for case in split_cases(dataset, cell)[1]}
    paths = {
        name: plan.CasePaths(
            _from(out, case.images[0]), _from(out, case.label) if isinstance(case.label, Path) else None, case.group
        )
        for name, case in tested.items()
    }
    names = {cell.cell(manifest) for cell in cells}
    names |= {r.cell for r in load_records(out / "records") if r.arm in config.arms and r.status == "finished"}
    plan.Study(
        title=config.title or dataset.name,
        task=config.task,
        reference=config.reference or next(iter(config.arms)),
        arms=known,
        planned=len(names),
        notes=list(config.notes),
        dataset=plan.Dataset(dataset.name, len(dataset.cases), dict(dataset.labels)),
        budget=config.budget.model_dump(exclude_none=True),
        cases=paths,
        clouds=None if config.clouds is None else {"upright": config.clouds.upright},
    ).save(out)


def _from(out: Path, file: Path) -> str:
    """A file inside the study folder by its place there, so that the folder can move; any other by its whole path."""
    whole = file.resolve()
    return str(whole.relative_to(out.resolve())) if whole.is_relative_to(out.resolve()) else str(whole)
