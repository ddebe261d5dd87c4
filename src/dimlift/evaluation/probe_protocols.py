"""Accuracy of a linear SVM on frozen features over resampled splits, and its interval.

Every repeat samples training and test cases anew. Repeats share cases, so the spread of their accuracies underestimates
the variance of the mean; intervals correct for that (Nadeau and Bengio, 2003, https://doi.org/10.1023/A:1024068626366).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dimlift.errors import DataError
from dimlift.evaluation.probe_score import Interval, ProbeScore

Protocol = Literal["svm", "svm_published", "few_shot", "fine_tune"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
PUBLISHED_C = 0.0093
"""Penalty of I2P-MAE's linear SVM on ModelNet40, on features without standardisation, the maximum over tokens."""
PENALTIES = tuple(10.0**power for power in range(-4, 3))
MIN_CASES_PER_CLASS = 4
FEW_SHOT_TEST_CASES = 20
"""Most test cases of each class in a few-shot repeat."""

ProbeSplit = tuple[NDArray[np.intp], NDArray[np.intp]]
"""Indices of the training and of the test cases of a repeat."""


@dataclass(frozen=True)
class ResampledAccuracy:
    """Accuracy of frozen features, one value for each repeat.

    Attributes:
        protocol: see `PROTOCOLS`.
        values: accuracy of each repeat, 0 to 1.
        control: of random weights, on the same splits; empty if not computed.
        test_ratio: test cases for each training case; the interval needs it.
        seen: cases that were pretrained on, without their labels.
        cases: number of all cases.
        tested: cases of a separate test set, predicted once; 0 where test cases were sampled.
    """

    protocol: str
    values: tuple[float, ...]
    control: tuple[float, ...] = ()
    test_ratio: float = 0.0
    seen: int = 0
    cases: int = 0
    tested: int = 0

    @property
    def mean(self) -> float:
        """Mean accuracy over the repeats."""
        return float(np.mean(self.values))

    def interval(self) -> Interval | None:
        """Return the 95 % interval of the mean over repeats, or over the cases of a separate test set.

        None for a single repeat.
        """
        if self.tested:
            return wilson_interval(self.values[0], self.tested)
        return _clip(resampled_interval(self.values, self.test_ratio))

    def control_mean(self) -> tuple[float, Interval | None]:
        """Return the mean accuracy of random weights, and its interval."""
        return float(np.mean(self.control)), _clip(resampled_interval(self.control, self.test_ratio))

    def gain(self) -> tuple[float, Interval | None]:
        """Return the mean difference from random weights, and its interval."""
        differences = np.subtract(self.values, self.control)
        return float(differences.mean()), resampled_interval(differences.tolist(), self.test_ratio)

    @property
    def scores(self) -> list[ProbeScore]:
        """The accuracy, and the gain over random weights if they were probed."""
        gain, gain_interval = self.gain() if self.control else (None, None)
        return [ProbeScore(self.protocol, "accuracy", self.mean, self.interval(), gain, gain_interval)]

    @property
    def summary(self) -> str:
        """How the accuracy was measured."""
        if self.tested:
            measured = f"{self.cases - self.tested} training cases, {self.tested} test cases, predicted once"
            about = "over test cases"
        else:
            measured = f"{self.cases} cases, {len(self.values)} samples of training and test cases"
            about = "of the mean, corrected for cases that samples share"
        seen = f"; {self.seen} of them were pretrained on, without labels" if self.seen else ""
        return f"{measured}{seen}; in brackets the 95 % interval {about}"


def resampled_interval(values: Sequence[float], test_ratio: float) -> Interval | None:
    """Return the 95 % interval of a mean over repeats sampled from the same cases; None for one repeat.

    Args:
        test_ratio: test cases for each training case of a repeat; added to the variance of the mean.
    """
    from scipy.stats import t

    count = len(values)
    if count < 2:
        return None
    error = float(np.std(values, ddof=1)) * math.sqrt(1 / count + test_ratio)
    width = float(t.ppf(0.975, count - 1)) * error
    return float(np.mean(values)) - width, float(np.mean(values)) + width


def wilson_interval(fraction: float, count: int) -> Interval:
    """Return the 95 % interval of the fraction of `count` cases that are right (Wilson, 1927)."""
    z = 1.959964
    centre = (fraction + z**2 / (2 * count)) / (1 + z**2 / count)
    width = z / (1 + z**2 / count) * math.sqrt(fraction * (1 - fraction) / count + z**2 / (4 * count**2))
    return centre - width, centre + width


def _clip(interval: Interval | None) -> Interval | None:
    """Return the part of an interval between 0 and 1."""
    return None if interval is None else (max(0.0, interval[0]), min(1.0, interval[1]))


def make_splits(
    truth: NDArray[np.intp], protocol: Protocol, repeats: int, test_fraction: float, ways: int, shots: int, seed: int
) -> list[ProbeSplit]:
    """Sample the splits of a protocol.

    Args:
        truth: class index of each case.
        test_fraction: of the cases; `few_shot` tests on up to 20 cases of each class instead.
        ways: classes of a few-shot repeat.
        shots: training cases of each of them.

    Raises:
        DataError: if classes have too few cases.
    """
    counts = np.bincount(truth)
    if protocol != "few_shot":
        from sklearn.model_selection import StratifiedShuffleSplit

        fewest = counts[counts > 0].min()
        if fewest < MIN_CASES_PER_CLASS:
            raise DataError(f"a class has {fewest} case(s); a split needs at least {MIN_CASES_PER_CLASS} of each")
        splitter = StratifiedShuffleSplit(repeats, test_size=test_fraction, random_state=seed)
        return list(splitter.split(np.zeros(len(truth)), truth))
    usable = np.flatnonzero(counts > shots)
    if len(usable) < ways:
        raise DataError(f"{len(usable)} classes have more than {shots} cases, need {ways}; lower --ways or --shots")
    splits = []
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, repeat])
        orders = [rng.permutation(np.flatnonzero(truth == label)) for label in rng.choice(usable, ways, replace=False)]
        train, test = [o[:shots] for o in orders], [o[shots : shots + FEW_SHOT_TEST_CASES] for o in orders]
        splits.append((np.concatenate(train), np.concatenate(test)))
    return splits


def mean_test_ratio(splits: Sequence[ProbeSplit]) -> float:
    """Return the mean number of test cases for each training case."""
    return float(np.mean([len(test) / len(train) for train, test in splits]))


def svm_accuracy(
    vectors: NDArray[Any],
    truth: NDArray[np.intp],
    split: ProbeSplit,
    protocol: Protocol,
    penalty: float = PUBLISHED_C,
) -> float:
    """Return the test accuracy of `svm_correct`."""
    return float(svm_correct(vectors, truth, split, protocol, penalty).mean())


def svm_correct(
    vectors: NDArray[Any],
    truth: NDArray[np.intp],
    split: ProbeSplit,
    protocol: Protocol,
    penalty: float = PUBLISHED_C,
) -> NDArray[np.bool_]:
    """Return which test cases a linear SVM classifies correctly.

    Except for `svm_published` and `few_shot`, its penalty is chosen on the training cases.
    """
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    train, test = split
    model: Any
    if protocol == "svm_published":
        model = SVC(kernel="linear", C=penalty)
    elif protocol == "few_shot":
        model = make_pipeline(StandardScaler(), SVC(kernel="linear", C=0.01))
    else:
        inner = int(min(3, np.bincount(truth[train])[np.unique(truth[train])].min()))
        scaled = make_pipeline(StandardScaler(), SVC(kernel="linear"))
        model = GridSearchCV(scaled, {"svc__C": PENALTIES}, cv=inner)
    predicted = model.fit(vectors[train], truth[train]).predict(vectors[test])
    return np.asarray(predicted == truth[test])
