"""`dimlift pretrain` on clouds, then `dimlift probe`: what is printed, and what is refused."""

import numpy as np
import pytest
from command_line import ask, refused

CONFIG = """
pretraining: {blocks: 1}
student: {method: point_transformer, patches: 8, neighbours: 8, width: 24, depth: 1, heads: 2}
clouds: {points: 64}
budget: {steps: 2}
training: {batch_size: 2, threads: 1, device: cpu}
"""


@pytest.fixture
def clouds(tmp_path):
    rng = np.random.default_rng(0)
    for name, scale in (("ball", (1, 1, 1)), ("rod", (1, 0.1, 0.1))):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(6):
            np.save(tmp_path / "set" / name / f"{number}.npy", rng.normal(size=(70, 3)) * scale)
    return tmp_path / "set"


def test_clouds_are_learnt_from_and_the_network_is_asked(clouds, tmp_path):
    (tmp_path / "points.yaml").write_text(CONFIG)
    out = tmp_path / "out"
    words = ("pretrain", "point_mae", tmp_path / "points.yaml", f"clouds.path={clouds}", "--out", out)
    assert ask(*words).code == 0
    options = ("--clouds", clouds, "--repeats", 2, "--points", 64)
    answer = ask("probe", out / "weights", *options)
    assert answer.code == 0
    assert "svm: accuracy" in answer.out
    assert "beside random weights" in answer.out
    assert "12 of them were pretrained on, without labels" in answer.out
    assert "choose one of: few_shot" in refused("probe", out / "weights", *options, "--protocol", "knn")
    assert "dimlift train" in refused("probe", tmp_path, *options)
    (clouds / "rod" / "7.npy").write_bytes(b"nothing")
    assert "7.npy" in refused("probe", out / "weights", *options)
