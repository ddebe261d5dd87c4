"""What a summary is made of: rows, classes, failures."""

from dataclasses import dataclass

from dimlift.report.measures import Measure
from dimlift.report.mixed_effects import Estimate
from dimlift.report.verdict import Comparison


@dataclass(frozen=True)
class ClassResult:
    """One class in one row.

    Attributes:
        mean: over cases, folds and seeds; None if it was never defined.
        scored: number of scores in the mean.
        excluded: number of scores left out because both masks were empty.
        worst: number of scores that are the worst value because one of the two masks was empty.
        difference: against the reference, by itself: not corrected for the number of classes or arms.
    """

    name: str
    mean: float | None
    scored: int
    excluded: int
    worst: int
    difference: Estimate | None


@dataclass(frozen=True)
class Worth:
    """How many labelled cases the reference would need for an arm's score, see `dimlift.report.label_efficiency`.

    Attributes:
        cases: 0 for fewer, None for more than the reference was tried with. low, high: the same for the interval.
        fewest, most: training cases the reference was tried with.
    """

    cases: float | None
    low: float | None
    high: float | None
    fewest: float
    most: float


@dataclass(frozen=True)
class Row:
    """One arm at one label fraction.

    Attributes:
        mean: over classes within a case, then over cases, folds and seeds.
        comparison: against the reference at the same fraction; None for the reference and where nothing pairs.
        own: the mean with its own, unpaired interval.
        training_cases: mean number of labelled training cases; None where records do not say.
        worth: how many labelled cases the reference would need for this score; None with a single label fraction.
        others: means of the other measures. left_out: how many of their scores are undefined.
        seconds: mean training time of a finished cell. peak_bytes: the largest of them. steps: their mean.
        cpu_seconds, gpu_bytes, joules: means and the largest, where the runs measured them.
        finished, failed, planned: number of cells; planned is None if the arms' shares cannot be told.
    """

    arm: str
    fraction: float
    title: str
    description: str
    is_reference: bool
    mean: float | None
    classes: tuple[ClassResult, ...]
    comparison: Comparison | None
    others: dict[str, float | None]
    left_out: dict[str, int]
    seconds: float | None
    peak_bytes: int | None
    steps: float | None
    parameters: int | None
    finished: int
    failed: int
    planned: int | None
    own: Estimate | None = None
    training_cases: float | None = None
    worth: Worth | None = None
    cpu_seconds: float | None = None
    gpu_bytes: int | None = None
    joules: float | None = None


@dataclass(frozen=True)
class Failure:
    """A cell that ended without a result, and why."""

    title: str
    fraction: float
    fold: int
    seed: int
    reason: str


@dataclass(frozen=True)
class Summary:
    """Everything the page and the command line say in numbers.

    Attributes:
        sentence: the verdict in one sentence.
        measure: what the verdict is about.
        excluded: scores of that measure left out because both masks were empty, over all rows.
        worst: scores that are the worst value because one of the two masks was empty, over all rows.
        several_fractions: whether rows differ in label fraction, so that it must be shown.
    """

    title: str
    task: str
    sentence: str
    measure: Measure
    reference: str
    rows: tuple[Row, ...]
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]
    excluded: int
    worst: int
    finished: int
    failed: int
    planned: int
    several_fractions: bool
