"""Vectors without training, and probes that never meet a patient twice."""

import numpy as np
import pytest
import torch

from dimlift.errors import DamagedFile, DataError, UnknownName
from dimlift.evaluation.linear_probe import probe
from dimlift.inference.embed import embed
from dimlift.methods.embedding.embed import embed_maps
from dimlift.methods.frozen_features.settings import BorrowSettings
from dimlift.metrics.patients import patient_interval
from dimlift.records.embeddings import Embeddings


def made(vectors, labels, groups=None):
    names = [f"v{n}" for n in range(len(vectors))]
    return Embeddings(
        np.asarray(vectors, np.float32), np.array(names), np.array(groups or names), np.array(labels, np.str_)
    )


def test_pooling_a_plane_leaves_no_slice_out_and_a_grid_keeps_places():
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
    with pytest.raises(UnknownName, match="pooling"):
        embed_maps(maps, planes, "median")


def test_embeddings_of_a_folder_hold_no_pickle_and_do_not_look_at_masks(data, tmp_path):
    settings = BorrowSettings(network="packaged:efficientnet_lite0", planes=("depth",), cache_channels=6, enlarge=1.0)
    found = embed(data, settings, tmp_path / "emb.npz", cache=tmp_path / "maps")
    assert found.names.tolist() == [f"case_{n}" for n in range(6)]
    with np.load(tmp_path / "emb.npz", allow_pickle=False) as stored:
        assert {stored[name].dtype.kind for name in stored.files} <= {"f", "U"}
    again = embed(data, settings, tmp_path / "again.npz")
    np.testing.assert_allclose(again.vectors, found.vectors, atol=1e-3)
    assert len(np.unique(found.vectors.round(4), axis=0)) == 6
    with pytest.raises(DataError, match=r"emb\.npz"):
        embed(data, settings, tmp_path / "emb.csv")
    (tmp_path / "emb.npz").write_bytes((tmp_path / "emb.npz").read_bytes()[:200])
    with pytest.raises(DamagedFile, match="dimlift embed"):
        Embeddings.load(tmp_path / "emb.npz")


def test_a_probe_finds_what_is_there_and_nothing_where_there_is_nothing():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    vectors = rng.normal(size=(60, 4))
    nothing = probe(made(vectors, labels))
    assert all(0.2 < finding.value < 0.8 for finding in nothing.findings)
    told = probe(made(vectors + 3 * labels[:, None], labels))
    assert [finding.probe for finding in told.findings] == ["linear", "neighbours"]
    assert all(finding.value > 0.95 for finding in told.findings)
    assert all(f.interval[0] <= f.value <= f.interval[1] for f in told.findings)


def test_knowing_the_patient_does_not_help():
    """Vectors that name the patient and nothing else: a split by case would look perfect."""
    rng = np.random.default_rng(1)
    patients = np.repeat(np.arange(20), 4)
    labels = np.repeat(rng.permutation(np.arange(20) % 2), 4)
    vectors = rng.normal(size=(20, 8))[patients] + 0.01 * rng.normal(size=(80, 8))
    by_patient = probe(made(vectors, labels, [str(p) for p in patients]))
    by_case = probe(made(vectors, labels))
    assert by_case.findings[1].value > 0.95
    assert by_patient.findings[1].value < 0.8
    assert by_patient.patients == 20


def test_the_interval_draws_patients_not_cases():
    """Ten copies of each patient add no certainty."""
    values = np.random.default_rng(0).normal(size=12)
    alone = patient_interval(lambda chosen: float(values[chosen].mean()), np.arange(12))
    copied = patient_interval(lambda chosen: float(np.repeat(values, 10)[chosen].mean()), np.repeat(np.arange(12), 10))
    assert copied == pytest.approx(alone)
    assert patient_interval(lambda chosen: 1.0, np.zeros(5)) is None
    assert patient_interval(lambda chosen: None, np.arange(5)) is None


def test_regression_and_more_classes():
    rng = np.random.default_rng(2)
    numbers = rng.normal(size=40)
    (linear, _) = probe(made(numbers[:, None] + 0 * rng.normal(size=(40, 3)), numbers), task="regression").findings
    assert linear.value < 0.1
    labels = np.arange(45) % 3
    assert probe(made(np.eye(3)[labels] + 0.1 * rng.normal(size=(45, 3)), labels)).findings[0].value > 0.95


def test_a_table_that_does_not_fit_is_refused(tmp_path):
    embeddings = made(np.random.default_rng(0).normal(size=(10, 2)), [""] * 10)
    with pytest.raises(DataError, match="--labels"):
        probe(embeddings)
    table = tmp_path / "y.csv"
    table.write_text("name,label\nv0,a\n")
    with pytest.raises(DataError, match="no row for 9 volumes: v1"):
        probe(embeddings, table)
    table.write_text("name,answer\nv0,a\n")
    with pytest.raises(DataError, match="label is missing"):
        probe(embeddings, table)
    table.write_text("name,label,patient\n" + "\n".join(f"v{n},{'ab'[n % 2]},p{n % 3}" for n in range(10)))
    with pytest.raises(DataError, match="3 patient"):
        probe(embeddings, table, group="patient")
    assert probe(embeddings, table, group="patient", folds=3).patients == 3
    with pytest.raises(DataError, match="none called hospital"):
        probe(embeddings, table, group="hospital")
