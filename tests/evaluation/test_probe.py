"""Probes of frozen features with resampled splits: accuracy, intervals, protocols."""

import numpy as np
import pytest
import torch

from dimlift.config.method_config import TaskSpec
from dimlift.data.datasets.point_cloud_set import PointCloudSet
from dimlift.errors import DataError
from dimlift.evaluation.probe import probe, probe_embeddings, probe_weights
from dimlift.evaluation.probe_protocols import (
    PROTOCOLS,
    ResampledAccuracy,
    resampled_interval,
    svm_accuracy,
    wilson_interval,
)
from dimlift.inference.embed import PointCloudEmbedder, build_point_encoder, embed, embed_point_clouds
from dimlift.methods.registry import POINT_ENCODERS
from dimlift.records.weights import write_weights

ARM = {"method": "point_transformer", "num_groups": 8, "group_size": 8, "width": 24, "depth": 1, "heads": 2}


def shapes(count: int = 8, shuffled: bool = False) -> PointCloudSet:
    """Rods, discs and balls."""
    rng = np.random.default_rng(0)
    scales = ((1, 0.1, 0.1), (1, 1, 0.1), (1, 1, 1))
    clouds = tuple((rng.normal(size=(70, 3)) * scale).astype(np.float32) for scale in scales for _ in range(count))
    labels = np.repeat(np.arange(3), count)
    labels = rng.permutation(labels) if shuffled else labels
    names = tuple(f"cloud {i}" for i in range(len(clouds)))
    return PointCloudSet(clouds, names, ("rod", "disc", "ball"), tuple(labels.tolist()))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    network = POINT_ENCODERS["point_transformer"].model_validate(ARM)
    state = network.build(TaskSpec("classification", 3, 0, None, (0, 0, 0))).model.state_dict()
    folder = tmp_path_factory.mktemp("weights")
    card = {"task": "pretraining", "arm": ARM, "seen": shapes().point_hashes()[:5]}
    return write_weights(folder, state, card)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_probe_weights_is_reproducible_with_every_protocol(protocol, weights):
    def run():
        return probe_weights(weights, shapes(), protocol, repeats=2, num_points=64, ways=2, shots=3, steps=2)

    found = run()
    assert len(found.values) == len(found.control) == 2
    assert all(0 <= value <= 1 for value in found.values)
    assert found.seen == 5
    assert found == run()
    low, high = found.interval()
    assert low <= found.mean <= high


def test_probe_weights_separates_shapes_but_not_shuffled_labels(weights):
    ordered, shuffled = (
        probe_weights(weights, shapes(16, each), "svm", repeats=3, num_points=64, control=False).mean for each in (0, 1)
    )
    assert ordered > 0.8
    assert shuffled < 0.6


def test_probe_weights_never_trains_on_the_test_dataset(weights):
    whole = shapes(12)
    train, test = (whole.subset([i for i in range(36) if (i % 12 < 8) == first]) for first in (True, False))
    wrong = PointCloudSet(test.point_clouds, test.names, test.classes, tuple((label + 1) % 3 for label in test.labels))
    found, worse = (
        probe_weights(weights, train, "svm", test_dataset=each, num_points=64, control=False) for each in (test, wrong)
    )
    assert (len(found.values), found.tested, found.cases) == (1, 12, 36)
    assert found.mean > 0.6
    assert worse.mean < 0.4
    low, high = found.interval()
    assert low < found.mean <= high
    with pytest.raises(DataError, match="few_shot samples"):
        probe_weights(weights, train, "few_shot", test_dataset=test, num_points=64)


def test_svm_published_uses_the_given_penalty(weights):
    values = [probe_weights(weights, shapes(), "svm_published", repeats=1, num_points=64, penalty=c, control=False).mean
              for c in (1e-9, 10.0)]  # fmt: skip
    assert values[1] > values[0]


def test_wilson_interval_values():
    low, high = wilson_interval(0.9, 100)
    assert (low, high) == (pytest.approx(0.8256, abs=1e-4), pytest.approx(0.9448, abs=1e-4))
    assert wilson_interval(1.0, 20)[1] == pytest.approx(1.0)


def test_build_point_encoder_seeds_random_weights_or_loads_a_folder(weights):
    one, same, other, read = (
        build_point_encoder(ARM, folder, seed) for folder, seed in ((None, 1), (None, 1), (None, 2), (weights, 1))
    )
    vectors = [embed_point_clouds(each, shapes(2), 64) for each in (one, same, other, read)]
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert all(np.abs(vectors[0] - each).max() > 0.1 for each in vectors[2:])


def test_svm_accuracy_chooses_the_penalty_on_training_cases():
    """Other test labels do not change the predictions."""
    rng = np.random.default_rng(0)
    vectors, truth = rng.normal(size=(40, 5)), np.arange(40) % 2
    vectors[:, 0] += 3 * truth
    split = np.arange(30), np.arange(30, 40)
    first = svm_accuracy(vectors, truth, split, "svm")
    truth[30:] = 1 - truth[30:]
    assert svm_accuracy(vectors, truth, split, "svm") == pytest.approx(1 - first)


def test_resampled_interval_corrects_for_shared_cases():
    """Nadeau and Bengio: the variance of the mean is s^2 (1/J + n_test/n_train)."""
    values = [0.5, 0.6, 0.7]
    low, high = resampled_interval(values, 0.5)
    assert (low + high) / 2 == pytest.approx(0.6)
    assert (high - low) / 2 == pytest.approx(4.302653 * 0.1 * (1 / 3 + 0.5) ** 0.5, rel=1e-5)
    assert resampled_interval([0.5], 0.5) is None


def test_probe_weights_refuses_unsuitable_data(weights, tmp_path):
    with pytest.raises(DataError, match="lower --ways or --shots"):
        probe_weights(weights, shapes(4), "few_shot", ways=3, shots=4, num_points=64)
    bare = PointCloudSet(shapes().point_clouds, shapes().names)
    with pytest.raises(DataError, match="fewer than two classes"):
        probe_weights(weights, bare)
    with pytest.raises(DataError, match="at least 4 of each"):
        probe_weights(weights, shapes(3))
    write_weights(tmp_path, {"a": torch.zeros(1)}, {"arm": {"method": "unet"}})
    with pytest.raises(DataError, match="no point encoder"):
        probe_weights(tmp_path, shapes())


def test_accuracy_interval_is_clipped_but_gain_is_not():
    found = ResampledAccuracy("svm", (0.9, 1.0, 0.95), (0.0, 0.1, 0.0), test_ratio=1.0)
    assert found.interval()[1] == 1.0
    assert found.control_mean()[1][0] == 0.0
    assert found.gain()[1][1] > 1.0  # a difference is not clipped


def test_probe_embeddings_of_point_clouds(weights, tmp_path):
    rng = np.random.default_rng(0)
    for name, scale in (("ball", (1, 1, 1)), ("rod", (1, 0.1, 0.1))):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(6):
            np.save(tmp_path / "set" / name / f"{number}.npy", rng.normal(size=(70, 3)) * scale)
    found = embed(tmp_path / "set", PointCloudEmbedder(weights, 64), tmp_path / "emb.npz")
    assert found.vectors.shape == (12, 2 * 24)
    assert sorted(set(found.labels)) == ["ball", "rod"]
    resampled = probe_embeddings(found, repeats=2)
    assert len(resampled.values) == 2
    assert resampled.scores[0].gain is None
    assert probe(tmp_path / "emb.npz", protocol="svm", repeats=2) == resampled
    assert [score.metric for score in probe(tmp_path / "emb.npz", folds=3).scores][:2] == ["AUROC", "AUROC"]
    with pytest.raises(DataError, match="trains the network"):
        probe_embeddings(found, "fine_tune")
