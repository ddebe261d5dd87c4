"""Reproducibility of a run: its level, the settings it needs, and the facts a record states about it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch

from dimlift.config.sections import BudgetSection, TrainingSection


def reproducibility_level(budget: BudgetSection, training: TrainingSection) -> str:
    """Return the level of reproducibility of a run, as a sentence."""
    if budget.steps is None:
        return "statistical: the number of steps in the given seconds depends on the machine; set budget.steps"
    if training.device == "cpu" or not torch.cuda.is_available():
        return "bit-exact: the same CPU type, versions and threads give the same numbers"
    if training.deterministic:
        return "bit-exact: the same GPU type and versions give the same numbers, or an error"
    return "statistical: GPU kernels may sum in varying order; --deterministic is bit-exact"


def reproducibility_facts(budget: BudgetSection, training: TrainingSection, seed: int, manifest: str) -> dict[str, Any]:
    """Return what a record states about reproducing its run; versions are stated elsewhere.

    Args:
        budget: length of training.
        training: the training section.
        seed: seed of the run.
        manifest: hash of the dataset.
    """
    on_gpu = training.device != "cpu" and torch.cuda.is_available()
    return {
        "level": reproducibility_level(budget, training),
        "deterministic": training.deterministic,
        "seed": seed,
        "data": manifest,
        "git_commit": git_commit(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
    }


@contextmanager
def deterministic_mode(enabled: bool) -> Iterator[None]:
    """Restrict torch to deterministic kernels inside the block; an operation without one raises an error."""
    previous = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    if enabled:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(previous[0])
        torch.backends.cudnn.benchmark = previous[1]


@cache
def git_commit() -> str | None:
    """Return the git commit of this package, with "+changes" if files were modified; None if it is installed."""
    package = Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(package), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # fails inside the repository of another project
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None
