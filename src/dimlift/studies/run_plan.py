"""The plan of `dimlift run`: the method that fits data and budget by measured estimates, and what it will cost."""

import datetime
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dimlift.config.sections import BudgetSection
from dimlift.data.case import Dataset
from dimlift.errors import ConfigError
from dimlift.inference.modality.base import RunData
from dimlift.inference.modality.registry import modality_of
from dimlift.methods.preparation_cost import free_bytes
from dimlift.progress import Progress, no_progress
from dimlift.records.json_file import read_json
from dimlift.records.weights import FINAL
from dimlift.studies.defaults import train_config
from dimlift.studies.load_config import parse
from dimlift.studies.method_choice import choose_method
from dimlift.studies.run import load_run_data
from dimlift.studies.run_config import TrainConfig
from dimlift.studies.run_folder import OWNER
from dimlift.studies.train import open_checked
from dimlift.training.distributed import ProcessGroup, require_single_process
from dimlift.training.fit import fit
from dimlift.training.memory import format_bytes


@dataclass(frozen=True)
class RunPlan:
    """What `run_dataset` will do.

    Attributes:
        dataset: the checked data.
        validation: trains on all but one cv fold, which it is scored on.
        final: trains on all labelled cases, in the same time.
        new_cases: folder of cases without labels to predict afterwards; None if there is none.
        facts: what is printed, by topic.
    """

    dataset: Dataset
    validation: TrainConfig
    final: TrainConfig
    new_cases: Path | None
    facts: dict[str, str]


def plan_run(source: Path | str, out: Path, overrides: Sequence[str] = (), progress: Progress = no_progress) -> RunPlan:
    """Look at a dataset, choose a method and estimate the run.

    Args:
        source: a dataset, or a YAML configuration.
        out: folder of the run; features computed for the estimate stay in its cache.
        overrides: `key.sub=value` pairs. `budget.seconds` is the time of both trainings together; `arm.method` fixes
            the method.

    Raises:
        ConfigError: for a requested method whose preparation does not fit budget or disk.
        DataError: if the dataset has errors, or too few cases to hold some out.
    """
    require_single_process("run", "use `dimlift train`")
    config = _halved(train_config(source, overrides))
    dataset = open_checked(config, progress)
    data = load_run_data(config, dataset, progress)
    requested = str(source).endswith((".yaml", ".yml")) or any(pair.startswith("arm.method=") for pair in overrides)
    arm = _planned_arm(out / FINAL / OWNER)
    if arm is not None and not requested:  # estimates of a second start may differ
        raw = {**config.model_dump(mode="json", exclude_none=True), "arm": arm}
        config, requested = parse(raw, TrainConfig, source=""), True
    config, reason, cost = choose_method(config, data, out / "cache", requested)
    labelled = sum(case.label is not None for case in dataset.cases)
    new_cases = Path(config.dataset.path) / "imagesTs"
    modality = modality_of(config)
    method = modality.build(config.arm, data.task)
    facts = {
        "data": f"{dataset.name}: {labelled} labelled cases of {len({case.group for case in dataset.cases})} patients; "
        f"{config.task} of {', '.join(dataset.labels) or 'a number'}",
        "input": _describe_input(data),
        "validation": f"trained on {len(data.train)}, scored on {len(data.test)} held out; then a final model on all "
        f"{labelled}",
        "method": f"{config.arm.method}: {reason}",
        "network": f"{sum(p.numel() for p in method.parameters() if p.requires_grad) / 1e6:.2f} M trained parameters",
    }
    if cost is not None:
        whole = cost.with_more(len(data.test))
        facts["preparation"] = f"{whole}; {format_bytes(free_bytes(out / 'cache'))} are free"
    facts["training"] = _describe_budget(config, data, method, out / "cache")
    threads = config.training.num_threads or torch.get_num_threads()
    facts["device"] = f"{config.training.device}, {threads} threads; samples take {format_bytes(_sample_bytes(data))}"
    if new_cases.is_dir():
        facts["prediction"] = f"of {new_cases} with the final model"
    final = config.model_copy(update={"fold": None, "name": "final"})
    return RunPlan(dataset, config, final, new_cases if new_cases.is_dir() else None, facts)


def _planned_arm(owner: Path) -> dict[str, Any] | None:
    """Return the arm of the run that was begun in a folder; None if there is none."""
    if not owner.is_file():
        return None
    content = read_json(owner)
    arm = content.get("config", {}).get("arm") if isinstance(content, dict) else None
    return arm if isinstance(arm, dict) else None


def _halved(config: TrainConfig) -> TrainConfig:
    """Return the configuration of one of two trainings in the given time."""
    if config.fold is None:
        raise ConfigError("dimlift run validates on one cv fold; remove fold=null, or use `dimlift train`")
    if config.budget.seconds is None:
        return config.model_copy(update={"name": "validation"})
    halved = BudgetSection(seconds=config.budget.seconds / 2)
    return config.model_copy(update={"name": "validation", "budget": halved})


def _describe_input(data: RunData) -> str:
    if data.task.patch_size == (0, 0, 0):
        return f"{data.task.in_channels} numbers for each point"
    sizes = np.median([sample.image.shape[1:] for sample in data.samples], axis=0).astype(int)
    spacing = data.task.spacing
    voxels = "varying voxels" if spacing is None else f"voxels of {' x '.join(f'{side:.3g}' for side in spacing)} mm"
    patch = " x ".join(map(str, data.task.patch_size))
    return f"{' x '.join(map(str, sizes))} (median), {voxels} (depth, height, width); patches of {patch}"


def _sample_bytes(data: RunData) -> int:
    return sum(getattr(sample, "image", getattr(sample, "points", np.zeros(0))).nbytes for sample in data.samples)


def _describe_budget(config: TrainConfig, data: RunData, method: Any, cache: Path) -> str:
    """Return the time of both trainings, and the number of steps expected from a few timed ones."""
    step = _seconds_per_step(config, data, method, cache)
    if config.budget.seconds is None:
        total = 2 * (config.budget.steps or 0) * step
        text = f"2 x {config.budget.steps} steps of about {step:.2g} s"
    else:
        total = 2 * config.budget.seconds
        text = f"2 x {config.budget.seconds:g} s, about {config.budget.seconds / step:.0f} steps each"
    end = datetime.datetime.now() + datetime.timedelta(seconds=total)
    return f"{text}; ends at about {end:%H:%M}, and then predicts"


def _seconds_per_step(config: TrainConfig, data: RunData, method: Any, cache: Path) -> float:
    """Return the mean time of two steps on the first case, after one that is not timed."""
    first = replace(data, samples=data.samples[:1], train=data.train[:1], test=[])
    plain = config.model_copy(update={"budget": BudgetSection(steps=1)})
    batches = modality_of(config).make_batches(plain, first, method, cache, no_progress, ProcessGroup())
    training = config.loop.model_copy(update={"num_workers": 0})
    fit(method, batches.batch_at, budget=BudgetSection(steps=1), training=training, seed=config.init_seed)
    start = time.perf_counter()
    fit(method, batches.batch_at, budget=BudgetSection(steps=2), training=training, seed=config.init_seed)
    return (time.perf_counter() - start) / 2
