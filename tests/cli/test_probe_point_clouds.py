"""`dimlift pretrain` on point clouds, then `dimlift embed` and `dimlift probe`."""

import numpy as np
import pytest
from command_line import run_cli, run_rejected

CONFIG = """
pretraining: {decoder_depth: 1}
arm: {method: point_transformer, num_groups: 8, group_size: 8, width: 24, depth: 1, heads: 2}
point_clouds: {num_points: 64}
budget: {steps: 2}
training: {batch_size: 2, num_threads: 1, device: cpu}
"""


@pytest.fixture
def shapes(tmp_path):
    rng = np.random.default_rng(0)
    for name, scale in (("ball", (1, 1, 1)), ("rod", (1, 0.1, 0.1))):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(6):
            np.save(tmp_path / "set" / name / f"{number}.npy", rng.normal(size=(70, 3)) * scale)
    return tmp_path / "set"


def test_pretrain_embed_and_probe_point_clouds(shapes, tmp_path):
    (tmp_path / "points.yaml").write_text(CONFIG)
    out = tmp_path / "out"
    words = ("pretrain", "point_mae", tmp_path / "points.yaml", f"dataset.path={shapes}", "--out", out)
    assert run_cli(*words).code == 0
    options = ("--dataset", shapes, "--repeats", 2, "--num-points", 64)
    result = run_cli("probe", out / "weights", *options)
    assert result.code == 0
    assert "accuracy" in result.out
    assert "gain over random weights" in result.out
    assert "12 of them were pretrained on, without labels" in result.out
    assert "unknown protocol 'knn'" in run_rejected("probe", out / "weights", *options, "--protocol", "knn")
    assert "dimlift train" in run_rejected("probe", tmp_path, *options)
    embeddings = tmp_path / "emb.npz"
    assert run_cli("embed", shapes, "--weights", out / "weights", "--num-points", 64, "--out", embeddings).code == 0
    assert "AUROC" in run_cli("probe", embeddings, "--folds", 3).out
    assert "--weights" in run_rejected("embed", shapes, "--out", embeddings)
    (shapes / "rod" / "7.npy").write_bytes(b"nothing")
    assert "7.npy" in run_rejected("probe", out / "weights", *options)
