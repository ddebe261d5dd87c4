"""The parts in which runs on volumes and on clouds differ: a domain is a module that offers them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from dimlift.batch import Batch
from dimlift.config.method_config import Arm, Task
from dimlift.data.case import Case, Dataset
from dimlift.data.issue import Finding
from dimlift.progress import Progress
from dimlift.records.record import Score
from dimlift.training.distributed import Team


@dataclass
class Material:
    """What a cell works with once its data is read.

    Attributes:
        preprocessing: the way from a file to the network's input, decided on the training cases.
        samples: the training cases, preprocessed.
        facts: what the record says of the data.
        notes: what a reader of the results should know of it.
    """

    train: list[Case]
    test: list[Case]
    preprocessing: Any
    samples: list[Any]
    task: Task
    facts: dict[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Draws:
    """The batches of a run.

    Attributes:
        batch_at: the batch of a step.
        cases_at: names of its cases, for messages about batches that were never made.
        spent: seconds of the budget that were needed before the first (feature extraction).
    """

    batch_at: Callable[[int], Batch]
    cases_at: Callable[[int], Sequence[str]]
    spent: float = 0.0


class TrainedNetwork(Protocol):
    """A method with the way from a file to its input; a dataclass, so that `method` can be replaced."""

    @property
    def method(self) -> nn.Module:
        """The network and its loss."""

    def save(self, folder: Path) -> Path:
        """Write the weights folder."""


class Domain(Protocol):
    """What a module of this folder offers. `config` is a `TrainConfig`, or a `StudyConfig` before its cells."""

    def open_data(self, config: Any) -> Dataset:
        """The cases of the data set. Raises: DataError, if it lies in no known layout."""

    def find_faults(self, dataset: Dataset, config: Any, heard: Callable[[int, int], None]) -> list[Finding]:
        """What is wrong with its files, each read to its end; `heard` is told how many of how many are."""

    def read_material(self, config: Any, dataset: Dataset, progress: Progress, together: Team) -> Material:
        """Split, decide preprocessing on the training cases, and read them."""

    def build(self, arm: Arm, task: Task) -> nn.Module:
        """The method of an arm, with the loss the task asks for."""

    def digests(self, case: Case) -> list[str]:
        """What a case is known by among those that weights were pretrained on."""

    def joined(self, config: Any, material: Material, method: nn.Module, cache: Path) -> TrainedNetwork:
        """A method together with its preprocessing."""

    def draws(
        self, config: Any, material: Material, method: nn.Module, cache: Path, progress: Progress, together: Team
    ) -> Draws:
        """The batches a method learns from, and whatever has to be computed before the first."""

    def score_cases(
        self,
        trained: Any,
        cases: Sequence[Case],
        predictions: Path | None,
        arm: str,
        progress: Progress,
        together: Team,
    ) -> list[Score]:
        """Scores of every case; predictions are written where a folder is given."""
