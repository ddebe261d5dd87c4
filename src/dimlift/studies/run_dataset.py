"""`dimlift run`: validate on held-out cases, train a final model on all, predict new cases, write the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dimlift.errors import RunError
from dimlift.inference.predict_files import predict
from dimlift.progress import Progress, no_progress
from dimlift.records.record import RunRecord
from dimlift.records.weights import FINAL
from dimlift.report.page import write_report
from dimlift.studies.compare import compare
from dimlift.studies.run_config import StudyConfig
from dimlift.studies.run_folder import lock_run_folder
from dimlift.studies.run_plan import RunPlan
from dimlift.studies.train import train

PREDICTIONS = "imagesTs_predictions"
STORED_FACTS = ("data", "input", "validation", "method", "network")
"""Facts of the plan that are equal when the command is repeated; the page shows them."""


@dataclass(frozen=True)
class RunResult:
    """What `run_dataset` wrote.

    Attributes:
        validation: the record with the scores of the held-out cases.
        page: report of the validation.
        predictions: files of new cases.
    """

    validation: RunRecord
    page: Path
    predictions: Sequence[Path]


def run_dataset(plan: RunPlan, out: Path | str, progress: Progress = no_progress) -> RunResult:
    """Execute a plan; the same call resumes an interrupted run.

    Writes to `out`: a study of one arm with the scores of the held-out cases and its report.html, final/ (the run
    folder of the model trained on all cases), and imagesTs_predictions/.

    Raises:
        RunError: if the folder holds another run, or training cannot continue.
        RunInterrupted: on Ctrl-C, SIGTERM or SIGUSR1; the same call resumes the run.
    """
    out, final = Path(out), plan.final
    identity, content = final.run_id(plan.dataset.manifest_hash()), final.model_dump(mode="json")
    with lock_run_folder(out / FINAL, "train", identity, content, plan.dataset.content_hashes):
        pass  # another run in this folder is refused before any work
    (record,) = compare(validation_study(plan), out, progress)
    page = write_report(out)
    if record.status == "failed":
        raise RunError(f"{out}: validation failed: {record.extra.get('reason')}")
    train(final, out / FINAL, progress, cache=out / "cache")
    predictions: list[Path] = []
    if plan.new_cases is not None:
        predictions = predict(out, [plan.new_cases], out / PREDICTIONS, progress)
    return RunResult(record, page, predictions)


def validation_study(plan: RunPlan) -> StudyConfig:
    """Return the validation as a study of one arm, without a comparison."""
    config = plan.validation
    shared: dict[str, Any] = {
        name: getattr(config, name) for name in type(config).model_fields if name in StudyConfig.model_fields
    }
    if config.train_count is not None:
        shared |= {"train_counts": (config.train_count,), "train_fractions": ()}
    elif config.train_fraction is not None:
        shared |= {"train_fractions": (config.train_fraction,)}
    arm = config.arm.model_copy(update={"title": config.arm.title or config.arm.method})
    return StudyConfig(
        **shared,
        title=f"{plan.dataset.name}: held-out cases",
        notes=tuple(f"{topic}: {text}" for topic, text in plan.facts.items() if topic in STORED_FACTS),
        arms={config.name: arm},
        baseline=False,
        folds=(config.fold or 0,),
        seeds=(config.seed,),
    )
