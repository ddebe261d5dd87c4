"""What a network of points knows of clouds it was not told about: SVM on frozen features, few shots, fine-tuning.

Every repeat draws training and test clouds anew. Repeats share clouds, so their mean is less certain than their spread
says: intervals take that into account (Nadeau and Bengio, 2003, https://doi.org/10.1023/A:1024068626366).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from dimlift.config.method_config import Task
from dimlift.config.sections import BudgetSection, TrainingSection
from dimlift.data.datasets.point_cloud_set import CloudSet, joined, open_clouds
from dimlift.data.sampling.point_cloud_sampler import CloudSampler
from dimlift.errors import DataError
from dimlift.lookup import pick
from dimlift.methods.registry import POINT_NETWORKS
from dimlift.progress import Event, Progress, silent
from dimlift.records.weights import read_card
from dimlift.training.fit import fit
from dimlift.training.initialise import start_from

Protocol = Literal["svm", "svm_published", "few_shot", "fine_tune"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
PUBLISHED_C = 0.0093
"""Penalty of I2P-MAE's linear SVM on ModelNet40; features as they are, the largest of the tokens."""
STRENGTHS = tuple(10.0**power for power in range(-4, 3))


@dataclass(frozen=True)
class Probing:
    """Accuracies of a network's features, one for each repeat.

    Attributes:
        protocol: how they were found.
        values: accuracy of each repeat, 0 to 1.
        control: of the same network with random weights, on the same repeats; empty where nobody asked.
        share: test clouds to each training cloud, which the interval needs.
        seen: clouds of the set that were pretrained on, without their labels.
        clouds: how many the set has.
        tested: clouds of a published test set, which were predicted once; 0 where test clouds were drawn.
    """

    protocol: str
    values: tuple[float, ...]
    control: tuple[float, ...] = ()
    share: float = 0.0
    seen: int = 0
    clouds: int = 0
    tested: int = 0

    @property
    def mean(self) -> float:
        """Of the repeats."""
        return float(np.mean(self.values))

    def interval(self) -> tuple[float, float] | None:
        """95 %, of the mean accuracy: over repeats, or over the clouds of a published test set; None for one repeat."""
        if self.tested:
            return share_interval(self.values[0], self.tested)
        return _possible(resampled_interval(self.values, self.share))

    def control_mean(self) -> tuple[float, tuple[float, float] | None]:
        """Mean accuracy of random weights, and its interval."""
        return float(np.mean(self.control)), _possible(resampled_interval(self.control, self.share))

    def gain(self) -> tuple[float, tuple[float, float] | None]:
        """Mean difference from random weights, and its interval."""
        differences = np.subtract(self.values, self.control)
        return float(differences.mean()), resampled_interval(differences.tolist(), self.share)


def resampled_interval(values: Sequence[float], share: float) -> tuple[float, float] | None:
    """95 % interval of a mean over repeats that were drawn from the same cases.

    Args:
        share: test cases to each training case of a repeat; added to the variance of the mean.
    """
    from scipy.stats import t

    count = len(values)
    if count < 2:
        return None
    spread = float(np.std(values, ddof=1)) * math.sqrt(1 / count + share)
    reach = float(t.ppf(0.975, count - 1)) * spread
    return float(np.mean(values)) - reach, float(np.mean(values)) + reach


def share_interval(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a share of `count` cases that are right (Wilson, 1927)."""
    z = 1.959964
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return middle - reach, middle + reach


def _possible(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    """The part of an interval of accuracies that an accuracy can have."""
    return None if interval is None else (max(0.0, interval[0]), min(1.0, interval[1]))


def probe_points(
    weights: Path,
    clouds: Path | CloudSet,
    protocol: Protocol = "svm",
    *,
    test: Path | CloudSet | None = None,
    repeats: int = 10,
    penalty: float = PUBLISHED_C,
    test_share: float = 0.3,
    points: int = 1024,
    ways: int = 5,
    shots: int = 10,
    steps: int = 300,
    control: bool = True,
    seed: int = 0,
    progress: Progress = silent,
) -> Probing:
    """Probe a network that `dimlift pretrain` left.

    Args:
        clouds: a labelled set.
        test: clouds that are tested on, once, all of `clouds` being learnt from: the split a benchmark publishes.
        repeats: draws of training and test clouds; with `test` there is nothing to draw.
        penalty: C of `svm_published`: 0.0093 on ModelNet40, 0.018 on ScanObjectNN (I2P-MAE).
        test_share: of the clouds; `few_shot` tests on up to 20 clouds a class instead.
        points: of each cloud.
        ways: classes of a few-shot repeat.
        shots: training clouds of each.
        steps: of fine-tuning.
        control: also probe the same network with random weights.

    Raises:
        DataError: if the weights are not of points, the set has no labels or too few clouds, or a test cloud is among
            the others.
    """
    card = read_card(weights)
    options = card.get("student") or {}
    if options.get("method") not in POINT_NETWORKS:
        raise DataError(f"{weights} holds no network of points; give what `dimlift pretrain` wrote for a cloud method")
    found = clouds if isinstance(clouds, CloudSet) else open_clouds(clouds)
    if len(found.classes) < 2:
        raise DataError("the clouds have no labels, or all the same; a folder for each class or a CSV gives them")
    tested = 0
    if test is not None:
        if protocol == "few_shot":
            raise DataError("few_shot draws its test clouds; leave --test out, or take another protocol")
        learnt, asked = len(found), test if isinstance(test, CloudSet) else open_clouds(test)
        found, tested = joined(found, asked), len(asked)
    seen = len(set(card.get("seen", [])) & set(found.digests()))
    truth = np.array(found.labels)
    if tested:
        splits = [(np.arange(learnt), np.arange(learnt, len(found)))]
    else:
        splits = _splits(truth, protocol, repeats, test_share, ways, shots, seed)
    share = float(np.mean([len(test) / len(train) for train, test in splits]))

    def accuracies(start: Path | None) -> tuple[float, ...]:
        if protocol == "fine_tune":
            return tuple(
                _fine_tuned(options, start, found, split, points, steps, seed + number, progress)
                for number, split in enumerate(splits)
            )
        pooling = "max" if protocol == "svm_published" else "both"
        vectors = embed_clouds(build(options, 0, start, seed).model.encoder, found, points, pooling, progress)
        return tuple(_svm(vectors, truth, split, protocol, penalty) for split in splits)

    return Probing(protocol, accuracies(weights), accuracies(None) if control else (), share, seen, len(found), tested)


def build(options: dict[str, Any], classes: int, start: Path | None, seed: int) -> Any:
    """The network of a card as a method, with random weights or those of a folder.

    A 2D network's own weights are not read: random means random.
    """
    arm = pick("network of points", POINT_NETWORKS, options["method"]).model_validate(options)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        method = arm.build(Task("classification", 3, classes, None, (0, 0, 0), seed), fresh=False)
    if start is not None:
        start_from(method, start)
    return method


@torch.no_grad()
def embed_clouds(
    encoder: Any, clouds: CloudSet, points: int = 1024, pooling: Any = "both", progress: Progress = silent
) -> NDArray[np.float32]:
    """One vector for each cloud: its tokens pooled."""
    from dimlift.models.point_classifier import pooled

    encoder.eval()
    device = next(encoder.parameters()).device
    sampler, found = CloudSampler(clouds, points, augment=False), []
    for first in range(0, len(clouds), 16):
        batch = sampler.whole(range(first, min(first + 16, len(clouds))))
        found.append(pooled(encoder(batch.points.to(device)).values, pooling).cpu().numpy())
        progress(Event("features", share=min(1.0, (first + 16) / len(clouds))))
    return np.concatenate(found)


Split = tuple[NDArray[np.intp], NDArray[np.intp]]


def _splits(
    truth: NDArray[np.intp], protocol: Protocol, repeats: int, test_share: float, ways: int, shots: int, seed: int
) -> list[Split]:
    counts = np.bincount(truth)
    if protocol != "few_shot":
        from sklearn.model_selection import StratifiedShuffleSplit

        if counts[counts > 0].min() < 4:
            raise DataError(f"a class has {counts[counts > 0].min()} cloud(s); 4 of each are the least to be split")
        drawn = StratifiedShuffleSplit(repeats, test_size=test_share, random_state=seed)
        return list(drawn.split(np.zeros(len(truth)), truth))
    usable = np.flatnonzero(counts > shots)
    if len(usable) < ways:
        raise DataError(
            f"{len(usable)} classes have more than {shots} clouds, {ways} are wanted; lower --ways or --shots"
        )
    splits = []
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, repeat])
        orders = [rng.permutation(np.flatnonzero(truth == label)) for label in rng.choice(usable, ways, replace=False)]
        train, test = [o[:shots] for o in orders], [o[shots : shots + 20] for o in orders]
        splits.append((np.concatenate(train), np.concatenate(test)))
    return splits


def _svm(
    vectors: NDArray[Any], truth: NDArray[Any], split: Split, protocol: Protocol, penalty: float = PUBLISHED_C
) -> float:
    """Accuracy of a linear SVM; its penalty is chosen among the training clouds alone, unless it is the published."""
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
        model = GridSearchCV(scaled, {"svc__C": STRENGTHS}, cv=inner)
    return float(model.fit(vectors[train], truth[train]).score(vectors[test], truth[test]))


def _fine_tuned(
    options: dict[str, Any],
    start: Path | None,
    clouds: CloudSet,
    split: Split,
    points: int,
    steps: int,
    seed: int,
    progress: Progress,
) -> float:
    """Accuracy after training the whole network on the training clouds."""
    train, test = split
    method = build(options, len(clouds.classes), start, seed)
    sampler = CloudSampler(clouds.some(train.tolist()), points, seed=seed)
    training = TrainingSection(batch_size=16, rate=5e-4, weight_decay=0.05, clip=10.0)
    budget = BudgetSection(steps=steps)
    fit(method, lambda step: sampler.batch(step, 16), budget=budget, training=training, seed=seed, progress=progress)
    method.eval()
    device = next(method.parameters()).device
    asked, right = CloudSampler(clouds, points, augment=False), 0
    with torch.no_grad():
        for part in np.array_split(test, max(1, len(test) // 16)):
            batch = asked.whole(part.tolist())
            right += int((method(batch.points.to(device)).cpu().argmax(1) == batch.label).sum())
    return right / len(test)
