"""How far a run repeats itself: what is promised, what is done for it, and what has to be known to repeat it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch

from dimlift.config.sections import BudgetSection, TrainingSection


def promise(budget: BudgetSection, training: TrainingSection) -> str:
    """The level of reproducibility of a run, in words."""
    if budget.steps is None:
        return "statistical: how many steps fit into the seconds depends on the machine; budget.steps repeats them"
    if training.device == "cpu" or not torch.cuda.is_available():
        return "bit-exact: the same processor type, versions and threads give the same numbers"
    if training.deterministic:
        return "bit-exact: the same type of GPU and versions give the same numbers, or an error"
    return "statistical: kernels of a GPU may add in changing order; --deterministic is bit-exact"


def facts(budget: BudgetSection, training: TrainingSection, seed: int, manifest: str) -> dict[str, Any]:
    """What a record says about repeating its run; versions it says elsewhere.

    Args:
        manifest: hash of the data set.
    """
    on_gpu = training.device != "cpu" and torch.cuda.is_available()
    return {
        "promise": promise(budget, training),
        "deterministic": training.deterministic,
        "seed": seed,
        "data": manifest,
        "git_commit": source_commit(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
    }


@contextmanager
def determinism(wanted: bool) -> Iterator[None]:
    """Inside the block torch takes deterministic kernels only, and an operation that has none is an error."""
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]


@cache
def source_commit() -> str | None:
    """The git commit this package runs from, "+changes" behind it if files were changed; None if it is installed."""
    package = Path(__file__).parents[1]

    def git(*words: str) -> str:
        asked = ["git", "-C", str(package), *words]
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # else it lies in somebody else's repository
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None
