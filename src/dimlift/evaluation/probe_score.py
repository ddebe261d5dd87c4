"""One score of a probe."""

from typing import NamedTuple

Interval = tuple[float, float]


class ProbeScore(NamedTuple):
    """What one probe of frozen features scores.

    Attributes:
        probe: "linear", "neighbours", or the protocol of a resampled probe.
        metric: "AUROC" (mean over classes where there are more than two), "accuracy" or "mean absolute error".
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
