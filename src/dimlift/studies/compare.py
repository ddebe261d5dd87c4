"""Run a study: arms x training sizes x cv folds x seeds, each run once."""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from dimlift.config.sections import ResourcesSection
from dimlift.data.case import Case, Dataset
from dimlift.methods.baselines.external import ExternalConfig
from dimlift.progress import Event, Progress, Stage, no_progress
from dimlift.records.record import RunRecord, load_records
from dimlift.records.study import CasePaths, Study, StudyArm, StudyDataset
from dimlift.records.weights import CARD_NAME, read_card
from dimlift.report.phrases import plural
from dimlift.studies.attempt import run_job, run_paths, write_failed_record
from dimlift.studies.config_checks import hashed_data_options
from dimlift.studies.executors.job import Executor, Job, make_jobs
from dimlift.studies.expected_power import describe_power
from dimlift.studies.run import finished_record, run_summary
from dimlift.studies.run_config import StudyConfig, TrainConfig
from dimlift.studies.run_folder import lock_run_folder
from dimlift.studies.split import split_cases
from dimlift.studies.stopping_rule import is_analysis, is_decided, require_planned_analyses
from dimlift.studies.train import open_checked
from dimlift.training.distributed import require_single_process
from dimlift.training.reproducibility import reproducibility_level
from dimlift.training.signals import raise_on_signal


def compare(
    config: StudyConfig,
    out: Path | str,
    progress: Progress = no_progress,
    only: Collection[str] | None = None,
    executor: Executor | None = None,
    anyway: bool = False,
) -> list[RunRecord]:
    """Execute every run of a study that has no finished record yet.

    The arms alternate within each seed, so that changes in machine load affect all arms alike, and an interrupted study
    compares complete rounds. A failed run leaves a record with the reason, and the study continues.

    Writes to `out`: study.json, config.yaml, records/, weights/<run_id>/, predictions/<run_id>/, attempts/<run_id>.

    Args:
        only: execute the runs of these arms only; the study and its plan stay complete.
        executor: where runs are executed (`dimlift.studies.executors`); by default in this process, one at a time.
        anyway: start a study that hardly detects `report.effect`.

    Returns:
        One record per requested run.

    Raises:
        DataError: if the dataset has errors.
        RunError: if the folder holds another study, or the study would hardly detect `report.effect`.
        RunInterrupted: on Ctrl-C, SIGTERM or SIGUSR1; the same call resumes the study.
    """
    require_single_process("compare", "distribute a study with --executor ray or --executor slurm")
    out = Path(out)
    dataset = open_checked(config, progress)
    progress(
        Event(
            "check", fraction=1.0, message=f"reproducibility: {reproducibility_level(config.budget, config.training)}"
        )
    )
    require_planned_analyses(config, out, executor is None)
    runs = planned_runs(config)
    test_cases = {case.name: case for run in runs for case in split_cases(dataset, run)[1]}
    power = describe_power(config, len({case.group for case in test_cases.values()}), out, anyway)
    if power:
        progress(Event("check", fraction=1.0, message=f"power: {power}"))
    content = config.model_dump(mode="json")
    identity, hashes = _study_identity(config, dataset), dataset.content_hashes
    with raise_on_signal(), lock_run_folder(out, "compare", identity, content, hashes):
        _move_superseded_records(config, dataset, out / "records")
        _write_study(config, dataset, runs, test_cases, out)
        requested = [run for run in runs if only is None or run.name in only]
        records = list(
            _run_in_process(config, requested, dataset, out, progress, stoppable=only is None)
            if executor is None
            else _run_on_executor(requested, dataset, out, progress, executor, config.resources)
        )
        _write_study(config, dataset, runs, test_cases, out)
        return records


def planned_runs(config: StudyConfig) -> list[TrainConfig]:
    """Return the runs in execution order: seeds outermost, arms innermost."""
    return [
        config.run_config(name, train_size=size, fold=fold, seed=seed)
        for seed, size, fold, name in product(config.seeds, config.train_sizes, config.folds, config.arms)
        if not isinstance(arm := config.arms[name], ExternalConfig)
        or arm.covers_run(size, seed, config.train_sizes, config.seeds)
    ]


def _run_in_process(
    config: StudyConfig, runs: list[TrainConfig], dataset: Dataset, out: Path, progress: Progress, stoppable: bool
) -> Iterator[RunRecord]:
    for number, run in enumerate(runs, start=1):

        def on_progress(event: Event, number: int = number) -> None:
            progress(replace(event, run_index=number, num_runs=len(runs)))

        yield run_job(run, dataset, out, on_progress)
        is_last = number < len(runs) and runs[number].seed != run.seed
        if stoppable and is_last and is_analysis(config, run.seed) and is_decided(out):
            trained = plural(config.seeds.index(run.seed) + 1, "seed")
            progress(Event("skip", fraction=1.0, message=f"stopped after {trained}: every verdict is decided"))
            return


def _run_on_executor(
    runs: list[TrainConfig],
    dataset: Dataset,
    out: Path,
    progress: Progress,
    executor: Executor,
    resources: ResourcesSection,
) -> Iterator[RunRecord]:
    """Execute runs in other processes or machines, except those with a finished record."""
    jobs = make_jobs(runs, dataset, out)
    found = [(job, finished_record(run_paths(job.run_id, out), job.run_id)) for job in jobs]
    missing = [job for job, record in found if record is None]
    done, total = len(jobs) - len(missing), len(jobs)
    if done:
        message = f"{done} of {total} runs are finished already"
        progress(Event("skip", fraction=1.0, run_index=done, num_runs=total, message=message))
    yield from (record for _, record in found if record is not None)
    with closing(executor(missing, resources)) as completed:
        for number, (job, error) in enumerate(completed, start=done + 1):
            record = _record_of(job, error, out)
            message = run_summary(record) if record.status == "finished" else record.extra["reason"]
            stage: Stage = "done" if record.status == "finished" else "failed"
            name = job.config.name
            progress(Event(stage, name, 1.0, record.steps, run_index=number, num_runs=total, message=message))
            yield record


def _record_of(job: Job, error: str, out: Path) -> RunRecord:
    """Return the record of an ended job; write a failed one if it left none. A finished record takes precedence."""
    paths = run_paths(job.run_id, out)
    path = paths.records / f"{job.run_id}.json"
    if (record := finished_record(paths, job.run_id)) is not None:
        return record
    if path.is_file() and not error:
        return RunRecord.load(path)
    return write_failed_record(job.config, job.run_id, error or f"the job left no record in {paths.records}", out)


def _study_identity(config: StudyConfig, dataset: Dataset) -> str:
    """Return a hash that is equal for studies whose runs are comparable; arms and seeds may be added."""
    content = config.model_dump(mode="json", include={"task", "split", "budget"})
    content |= hashed_data_options(config)
    content["data"] = dataset.manifest_hash()
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _move_superseded_records(config: StudyConfig, dataset: Dataset, records: Path) -> None:
    """Move records of arms whose options have changed since then to records/superseded."""
    manifest = dataset.manifest_hash()
    for path in sorted(records.glob("*.json")):
        record = RunRecord.load(path)
        if record.arm not in config.arms:
            continue  # the report ignores them, and the arm may be added again
        current = config.run_config(record.arm, train_size=record.train_size, fold=record.fold, seed=record.seed)
        if current.run_id(manifest) != record.run_id:
            superseded = records / "superseded"
            superseded.mkdir(exist_ok=True)
            path.rename(superseded / path.name)


def _write_study(
    config: StudyConfig, dataset: Dataset, runs: list[TrainConfig], test_cases: Mapping[str, Case], out: Path
) -> None:
    """Write study.json: the plan, and what is known about the arms so far."""
    manifest = dataset.manifest_hash()
    run_ids = [run.run_id(manifest) for run in runs]
    arms = {
        name: _study_arm(config, name, [i for run, i in zip(runs, run_ids, strict=True) if run.name == name], out)
        for name in config.arms
    }
    finished = {r.run_id for r in load_records(out / "records") if r.arm in config.arms and r.status == "finished"}
    Study(
        title=config.title or dataset.name,
        task=config.task,
        reference=config.reference or next(iter(config.arms)),
        arms=arms,
        planned=len(finished.union(run_ids)),
        notes=list(config.notes),
        dataset=StudyDataset(dataset.name, len(dataset.cases), dict(dataset.labels)),
        budget=config.budget.model_dump(exclude_none=True),
        cases={
            name: CasePaths(
                _relative_to(out, case.images[0]),
                _relative_to(out, case.label) if isinstance(case.label, Path) else None,
                case.group,
            )
            for name, case in test_cases.items()
        },
        modality=dataset.modality,
        up_axis=config.point_clouds.up_axis,
        columns=list(config.point_clouds.columns),
        margin=config.report.margin,
        unseen_failure=config.report.unseen_failure,
        unseen_collapse=config.report.unseen_collapse,
        analyses=config.analyses,
    ).save(out)


def _study_arm(config: StudyConfig, name: str, run_ids: list[str], out: Path) -> StudyArm:
    """Describe an arm; certificate, provenance and parameter count are those of its first finished run."""
    arm = config.arms[name]
    card: dict[str, Any] = {}
    parameters = None
    for run_id in run_ids:
        record, weights = out / "records" / f"{run_id}.json", out / "weights" / run_id
        if record.is_file() and (weights / CARD_NAME).is_file():
            card, parameters = read_card(weights), RunRecord.load(record).extra.get("parameters")
            break
    return StudyArm(arm.title or name, arm.description, card.get("certificate"), parameters, card.get("provenance"))


def _relative_to(out: Path, file: Path) -> str:
    """Return the path relative to the study folder if the file is inside, so that the folder can be moved."""
    absolute = file.resolve()
    return str(absolute.relative_to(out.resolve())) if absolute.is_relative_to(out.resolve()) else str(absolute)
