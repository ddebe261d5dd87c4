"""One score of a probe."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

Interval = tuple[float, float]


class ProbeScore(NamedTuple):
    """What one probe of frozen features scores.

    Attributes:
        probe: "linear", "neighbours", or the protocol of a resampled probe.
        metric: "AUROC" (mean over classes where there are more than two), "balanced accuracy", "accuracy" or "mean
            absolute error".
        value: the score.
        interval: 95 %; None where it cannot be computed.
        gain: difference from the same network with random weights; None if those were not probed.
        gain_interval: 95 % interval of the gain.
    """

    probe: str
    metric: str
    value: float
    interval: Interval | None
    gain: float | None = None
    gain_interval: Interval | None = None

    def __str__(self) -> str:
        spread = "" if self.interval is None else f" ({self.interval[0]:.3f} to {self.interval[1]:.3f})"
        text = f"{self.probe:<11}{self.metric} {self.value:.3f}{spread}"
        if self.gain is None:
            return text
        low_high = self.gain_interval
        gained = "" if low_high is None else f" ({low_high[0]:+.3f} to {low_high[1]:+.3f})"
        return f"{text}; gain over random weights {self.gain:+.3f}{gained}"


class ConfusionTable(NamedTuple):
    """Confusion matrix of a classifier.

    Attributes:
        classes: names, in the order of rows and columns.
        counts: cases of a true class (row) that were given a class (column).
    """

    classes: tuple[str, ...]
    counts: Int[np.ndarray, "classes classes"]

    @property
    def majority_share(self) -> float:
        """Accuracy of a classifier that always gives the most frequent class."""
        return float(self.counts.sum(1).max() / self.counts.sum())

    def __str__(self) -> str:
        width = max(5, *(len(name) for name in self.classes))
        rows = [["true \\ predicted", *self.classes]]
        rows += [[name, *map(str, row)] for name, row in zip(self.classes, self.counts.tolist(), strict=True)]
        first = max(len(row[0]) for row in rows)
        table = "\n".join(row[0].ljust(first) + "".join(f"  {cell:>{width}}" for cell in row[1:]) for row in rows)
        majority = self.classes[int(self.counts.sum(1).argmax())]
        return f"linear probe:\n{table}\nalways {majority!r}: accuracy {self.majority_share:.3f}"
