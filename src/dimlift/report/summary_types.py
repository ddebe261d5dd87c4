"""Parts of a summary: rows, classes, failed runs."""

from dataclasses import dataclass

from dimlift.records.train_size import TrainSize
from dimlift.report.confidence_interval import CrossedInterval
from dimlift.report.crossing_point import Crossing
from dimlift.report.measures import Measure
from dimlift.report.verdict import Comparison


@dataclass(frozen=True)
class ClassResult:
    """One class of one row.

    Attributes:
        mean: over cases, cv folds and seeds; None if it is never defined.
        scored: number of scores in the mean.
        excluded: number of scores excluded because both masks are empty.
        worst: number of scores set to the worst value because one of the two masks is empty.
        difference: to the reference, for this class alone: not corrected for the number of classes or arms.
    """

    name: str
    mean: float | None
    scored: int
    excluded: int
    worst: int
    difference: CrossedInterval | None


@dataclass(frozen=True)
class LabelSavings:
    """Number of labelled cases with which the reference reaches an arm's score, see `label_efficiency`.

    Attributes:
        cases: 0 if fewer than `min_cases`, None if more than `max_cases`.
        low, high: the same for the ends of the interval.
        min_cases, max_cases: smallest and largest number of training cases of the reference.
    """

    cases: float | None
    low: float | None
    high: float | None
    min_cases: float
    max_cases: float


@dataclass(frozen=True)
class SummaryRow:
    """One arm at one training size.

    Attributes:
        mean: over classes within a case, then over cases, cv folds and seeds.
        comparison: with the reference at the same training size; None for the reference and without paired scores.
        other_measures: means of the other measures.
        undefined: number of undefined scores of the other measures.
        seconds: mean training time of finished runs.
        peak_bytes: largest peak memory of a finished run.
        steps: mean number of steps of finished runs.
        finished, failed, planned: numbers of runs; planned is None if it differs between rows.
        own_interval: the mean with its own, unpaired interval.
        training_cases: mean number of labelled training cases; None if the records do not state it.
        label_savings: labelled cases of the reference for the same score; None with a single training size.
        cpu_seconds, joules: means, if they were measured.
        gpu_bytes: largest GPU memory, if it was measured.
    """

    arm: str
    train_size: TrainSize
    title: str
    description: str
    is_reference: bool
    mean: float | None
    classes: tuple[ClassResult, ...]
    comparison: Comparison | None
    other_measures: dict[str, float | None]
    undefined: dict[str, int]
    seconds: float | None
    peak_bytes: int | None
    steps: float | None
    parameters: int | None
    finished: int
    failed: int
    planned: int | None
    own_interval: CrossedInterval | None = None
    training_cases: float | None = None
    label_savings: LabelSavings | None = None
    cpu_seconds: float | None = None
    gpu_bytes: int | None = None
    joules: float | None = None


@dataclass(frozen=True)
class FailedRun:
    """A run that ended without a result, and the reason."""

    title: str
    train_size: TrainSize
    fold: int
    seed: int
    reason: str


@dataclass(frozen=True)
class Summary:
    """All numbers shown by the report and the command line.

    Attributes:
        sentence: the verdict in one sentence.
        measure: the measure of the verdict.
        rows: arms at training sizes, from the smallest size to the largest.
        excluded: scores of that measure excluded because both masks are empty, over all rows.
        worst: scores set to the worst value because one of the two masks is empty, over all rows.
        crossings: title of each arm, and up to how many labelled cases it pays; empty with one training size.
    """

    title: str
    task: str
    sentence: str
    measure: Measure
    reference: str
    rows: tuple[SummaryRow, ...]
    failures: tuple[FailedRun, ...]
    notes: tuple[str, ...]
    excluded: int
    worst: int
    finished: int
    failed: int
    planned: int
    crossings: tuple[tuple[str, Crossing], ...] = ()

    @property
    def several_sizes(self) -> bool:
        """Whether rows differ in training size, so that it has to be shown."""
        return len({row.train_size for row in self.rows}) > 1

    @property
    def largest_size(self) -> TrainSize:
        """The largest training size."""
        return self.rows[-1].train_size
