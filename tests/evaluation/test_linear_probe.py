"""Embeddings of volumes, and cross-validated probes by patient."""

import numpy as np
import pytest
import torch

from dimlift.errors import CorruptFileError, DataError, UnknownNameError
from dimlift.evaluation.linear_probe import cross_validated_probe
from dimlift.inference.embed import VolumeEmbedder, embed
from dimlift.methods.embedding.embed import embed_maps
from dimlift.methods.frozen_features.settings import FeatureExtractionSettings
from dimlift.metrics.patients import patient_interval
from dimlift.records.embeddings import Embeddings


def make_embeddings(vectors, labels, groups=None):
    names = [f"v{n}" for n in range(len(vectors))]
    return Embeddings(
        np.asarray(vectors, np.float32), np.array(names), np.array(groups or names), np.array(labels, np.str_)
    )


def test_embed_maps_pools_slices_and_keeps_grid_positions():
    maps = [torch.zeros(2, 5, 4, 4), torch.zeros(2, 4, 6, 4)]
    maps[0][0, 3, 0, 0] = 8.0  # one voxel of one slice, in a corner
    planes = ("depth", "height")
    mean = embed_maps(maps, planes, "mean")
    assert mean.shape == (4,)
    assert mean[0] == pytest.approx(8 / 80)
    assert embed_maps(maps, planes, "max")[0] == 8
    assert embed_maps(maps, planes, "both").tolist() == [*mean.tolist(), 8, 0, 0, 0]
    grid = embed_maps(maps, planes, "mean", grid=2)
    assert grid.shape == (16,)
    assert grid[:4].tolist() == pytest.approx([8 / 20, 0, 0, 0])
    with pytest.raises(UnknownNameError, match="pooling"):
        embed_maps(maps, planes, "median")


def test_embed_volumes_writes_no_pickle_and_ignores_masks(data, tmp_path):
    settings = FeatureExtractionSettings(
        network="packaged:efficientnet_lite0", planes=("depth",), cache_channels=6, upsample=1.0
    )
    found = embed(data, VolumeEmbedder(settings, cache=tmp_path / "maps"), tmp_path / "emb.npz")
    assert found.names.tolist() == [f"case_{n}" for n in range(6)]
    with np.load(tmp_path / "emb.npz", allow_pickle=False) as stored:
        assert {stored[name].dtype.kind for name in stored.files} <= {"f", "U"}
    again = embed(data, VolumeEmbedder(settings), tmp_path / "again.npz")
    np.testing.assert_allclose(again.vectors, found.vectors, atol=1e-3)
    assert len(np.unique(found.vectors.round(4), axis=0)) == 6
    with pytest.raises(DataError, match=r"emb\.npz"):
        embed(data, VolumeEmbedder(settings), tmp_path / "emb.csv")
    (tmp_path / "emb.npz").write_bytes((tmp_path / "emb.npz").read_bytes()[:200])
    with pytest.raises(CorruptFileError, match="dimlift embed"):
        Embeddings.load(tmp_path / "emb.npz")


def test_cross_validated_probe_separates_signal_from_noise():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    vectors = rng.normal(size=(60, 4))
    nothing = cross_validated_probe(make_embeddings(vectors, labels))
    assert all(0.2 < score.value < 0.8 for score in nothing.scores)
    assert nothing.confusion.counts.sum(1).tolist() == [30, 30]
    assert nothing.confusion.majority_share == 0.5
    separable = cross_validated_probe(make_embeddings(vectors + 3 * labels[:, None], labels))
    assert [(score.metric, score.probe) for score in separable.scores] == [
        (metric, probe) for metric in ("AUROC", "balanced accuracy", "accuracy") for probe in ("linear", "neighbours")
    ]
    accuracy = next(s.value for s in separable.scores if (s.metric, s.probe) == ("accuracy", "linear"))
    assert accuracy == np.trace(separable.confusion.counts) / 60
    assert "always '0': accuracy 0.500" in separable.summary
    assert all(score.value > 0.95 for score in separable.scores)
    assert all(f.interval[0] <= f.value <= f.interval[1] for f in separable.scores)


def test_cross_validated_probe_splits_by_patient():
    """Vectors encode the patient and nothing else: a split by case would score perfectly."""
    rng = np.random.default_rng(1)
    patients = np.repeat(np.arange(20), 4)
    labels = np.repeat(rng.permutation(np.arange(20) % 2), 4)
    vectors = rng.normal(size=(20, 8))[patients] + 0.01 * rng.normal(size=(80, 8))
    by_patient = cross_validated_probe(make_embeddings(vectors, labels, [str(p) for p in patients]))
    by_case = cross_validated_probe(make_embeddings(vectors, labels))
    assert by_case.scores[1].value > 0.95
    assert by_patient.scores[1].value < 0.8
    assert by_patient.patients == 20


def test_patient_interval_resamples_patients():
    """Ten copies of each patient do not narrow the interval."""
    values = np.random.default_rng(0).normal(size=12)
    alone = patient_interval(lambda chosen: float(values[chosen].mean()), np.arange(12))
    copied = patient_interval(lambda chosen: float(np.repeat(values, 10)[chosen].mean()), np.repeat(np.arange(12), 10))
    assert copied == pytest.approx(alone)
    assert patient_interval(lambda chosen: 1.0, np.zeros(5)) is None
    assert patient_interval(lambda chosen: None, np.arange(5)) is None


def test_cross_validated_probe_regression_and_three_classes():
    rng = np.random.default_rng(2)
    numbers = rng.normal(size=40)
    (linear, _) = cross_validated_probe(
        make_embeddings(numbers[:, None] + 0 * rng.normal(size=(40, 3)), numbers), task="regression"
    ).scores
    assert linear.value < 0.1
    labels = np.arange(45) % 3
    assert (
        cross_validated_probe(make_embeddings(np.eye(3)[labels] + 0.1 * rng.normal(size=(45, 3)), labels))
        .scores[0]
        .value
        > 0.95
    )


def test_cross_validated_probe_refuses_unsuitable_tables(tmp_path):
    embeddings = make_embeddings(np.random.default_rng(0).normal(size=(10, 2)), [""] * 10)
    with pytest.raises(DataError, match="--labels"):
        cross_validated_probe(embeddings)
    table = tmp_path / "y.csv"
    table.write_text("name,label\nv0,a\n")
    with pytest.raises(DataError, match="no row for 9 cases: v1"):
        cross_validated_probe(embeddings, table)
    table.write_text("name,answer\nv0,a\n")
    with pytest.raises(DataError, match="label is missing"):
        cross_validated_probe(embeddings, table)
    table.write_text("name,label,patient\n" + "\n".join(f"v{n},{'ab'[n % 2]},p{n % 3}" for n in range(10)))
    with pytest.raises(DataError, match="3 patient"):
        cross_validated_probe(embeddings, table, group_column="patient")
    assert cross_validated_probe(embeddings, table, group_column="patient", folds=3).patients == 3
    with pytest.raises(DataError, match="none called hospital"):
        cross_validated_probe(embeddings, table, group_column="hospital")


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_two_patients_are_probed_without_a_search_for_the_penalty(task):
    vectors = np.random.default_rng(0).normal(size=(20, 3))
    labels = [str(n % 2) for n in range(20)] if task == "classification" else [str(n) for n in range(20)]
    groups = [f"p{n // 10}" for n in range(20)]
    found = cross_validated_probe(make_embeddings(vectors, labels, groups), folds=2, task=task)
    assert all(np.isfinite(score.value) for score in found.scores)


def test_penalty_is_chosen_on_inner_folds_of_two_classes(recwarn):
    """Two patients have every case of the rare class; an inner fold without the one in training cannot be fitted."""
    rng = np.random.default_rng(0)
    groups = [f"p{n % 6}" for n in range(60)] + ["rare1"] * 20 + ["rare2"] * 20
    labels = ["common"] * 60 + ["rare"] * 40
    vectors = rng.normal(size=(100, 4)) + 3 * (np.array(labels) == "rare")[:, None]
    found = cross_validated_probe(make_embeddings(vectors, labels, groups), folds=2)
    assert next(s.value for s in found.scores if (s.metric, s.probe) == ("balanced accuracy", "linear")) > 0.95
    assert not [warning for warning in recwarn if "fits failed" in str(warning.message)]
