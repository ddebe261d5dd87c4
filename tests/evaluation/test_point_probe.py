"""Probes of networks of points: features that tell classes apart score, chance stays chance, intervals cover."""

import numpy as np
import pytest
import torch

from dimlift.config.method_config import Task
from dimlift.data.datasets.point_cloud_set import CloudSet
from dimlift.errors import DataError
from dimlift.evaluation.point_probe import (
    PROTOCOLS,
    Probing,
    _svm,
    build,
    embed_clouds,
    probe_points,
    resampled_interval,
    share_interval,
)
from dimlift.methods.registry import POINT_NETWORKS
from dimlift.records.weights import write_weights

STUDENT = {"method": "point_transformer", "patches": 8, "neighbours": 8, "width": 24, "depth": 1, "heads": 2}


def shapes(count: int = 8, shuffled: bool = False) -> CloudSet:
    """Rods, discs and balls."""
    rng = np.random.default_rng(0)
    scales = ((1, 0.1, 0.1), (1, 1, 0.1), (1, 1, 1))
    clouds = tuple((rng.normal(size=(70, 3)) * scale).astype(np.float32) for scale in scales for _ in range(count))
    labels = np.repeat(np.arange(3), count)
    labels = rng.permutation(labels) if shuffled else labels
    names = tuple(f"cloud {i}" for i in range(len(clouds)))
    return CloudSet(clouds, names, ("rod", "disc", "ball"), tuple(labels.tolist()))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    network = POINT_NETWORKS["point_transformer"].model_validate(STUDENT)
    state = network.build(Task("classification", 3, 0, None, (0, 0, 0))).model.state_dict()
    folder = tmp_path_factory.mktemp("weights")
    card = {"task": "pretraining", "student": STUDENT, "seen": shapes().digests()[:5]}
    return write_weights(folder, state, card)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_gives_an_accuracy_for_each_repeat_and_the_same_again(protocol, weights):
    def ask():
        return probe_points(weights, shapes(), protocol, repeats=2, points=64, ways=2, shots=3, steps=2)

    found = ask()
    assert len(found.values) == len(found.control) == 2
    assert all(0 <= value <= 1 for value in found.values)
    assert found.seen == 5
    assert found == ask()
    low, high = found.interval()
    assert low <= found.mean <= high


def test_shapes_are_told_apart_and_shuffled_labels_are_not(weights):
    told, shuffled = (
        probe_points(weights, shapes(16, each), "svm", repeats=3, points=64, control=False).mean for each in (0, 1)
    )
    assert told > 0.8
    assert shuffled < 0.6


def test_a_published_test_set_is_tested_on_once_and_learnt_from_never(weights):
    whole = shapes(12)
    learnt, asked = (whole.some([i for i in range(36) if (i % 12 < 8) == first]) for first in (True, False))
    wrong = CloudSet(asked.clouds, asked.names, asked.classes, tuple((label + 1) % 3 for label in asked.labels))
    found, worse = (
        probe_points(weights, learnt, "svm", test=each, points=64, control=False) for each in (asked, wrong)
    )
    assert (len(found.values), found.tested, found.clouds) == (1, 12, 36)
    assert found.mean > 0.6
    assert worse.mean < 0.4  # what test clouds are called changes their score, and no answer
    low, high = found.interval()
    assert low < found.mean <= high
    with pytest.raises(DataError, match="few_shot draws"):
        probe_points(weights, learnt, "few_shot", test=asked, points=64)


def test_the_published_penalty_is_the_data_sets(weights):
    values = [probe_points(weights, shapes(), "svm_published", repeats=1, points=64, penalty=c, control=False).mean
              for c in (1e-9, 10.0)]  # fmt: skip
    assert values[1] > values[0]


def test_the_interval_of_a_share_is_wilsons():
    low, high = share_interval(0.9, 100)
    assert (low, high) == (pytest.approx(0.8256, abs=1e-4), pytest.approx(0.9448, abs=1e-4))
    assert share_interval(1.0, 20)[1] == pytest.approx(1.0)


def test_random_weights_are_drawn_by_the_seed_and_the_folders_are_read(weights):
    one, same, other, read = (
        build(STUDENT, 0, start, seed).model.encoder for start, seed in ((None, 1), (None, 1), (None, 2), (weights, 1))
    )
    vectors = [embed_clouds(each, shapes(2), 64) for each in (one, same, other, read)]
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert all(np.abs(vectors[0] - each).max() > 0.1 for each in vectors[2:])


def test_no_test_cloud_decides_the_penalty():
    """Test vectors of another scale and other labels: what was chosen and how it answers does not change."""
    rng = np.random.default_rng(0)
    vectors, truth = rng.normal(size=(40, 5)), np.arange(40) % 2
    vectors[:, 0] += 3 * truth
    split = np.arange(30), np.arange(30, 40)
    first = _svm(vectors, truth, split, "svm")
    truth[30:] = 1 - truth[30:]
    assert _svm(vectors, truth, split, "svm") == pytest.approx(1 - first)


def test_repeats_that_share_cases_are_less_certain():
    """Nadeau and Bengio: the variance of the mean is s^2 (1/J + n_test/n_train)."""
    values = [0.5, 0.6, 0.7]
    low, high = resampled_interval(values, 0.5)
    assert (low + high) / 2 == pytest.approx(0.6)
    assert (high - low) / 2 == pytest.approx(4.302653 * 0.1 * (1 / 3 + 0.5) ** 0.5, rel=1e-5)
    assert resampled_interval([0.5], 0.5) is None


def test_what_cannot_be_probed_is_refused(weights, tmp_path):
    with pytest.raises(DataError, match="lower --ways or --shots"):
        probe_points(weights, shapes(4), "few_shot", ways=3, shots=4, points=64)
    bare = CloudSet(shapes().clouds, shapes().names)
    with pytest.raises(DataError, match="no labels"):
        probe_points(weights, bare)
    with pytest.raises(DataError, match="4 of each"):
        probe_points(weights, shapes(3))
    write_weights(tmp_path, {"a": torch.zeros(1)}, {"student": {"method": "unet"}})
    with pytest.raises(DataError, match="no network of points"):
        probe_points(tmp_path, shapes())


def test_an_interval_of_accuracies_stays_among_accuracies():
    found = Probing("svm", (0.9, 1.0, 0.95), (0.0, 0.1, 0.0), share=1.0)
    assert found.interval()[1] == 1.0
    assert found.control_mean()[1][0] == 0.0
    assert found.gain()[1][1] > 1.0  # differences may go on
