"""Runs on several MR sequences, with missing ones, and on CT windows."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from dimlift.config.method_config import TaskSpec
from dimlift.errors import ConfigError
from dimlift.inference.predict_files import predict
from dimlift.inference.predictor import Predictor
from dimlift.methods.lifted.config import LiftedConfig
from dimlift.studies.train import train
from small_runs import train_config, write_case


@pytest.fixture
def sequences(tmp_path):
    """Six cases with two sequences; the second is missing in one case."""
    root = tmp_path / "set"
    for number in range(6):
        write_case(tmp_path / "plain", f"c{number}", number)
        for channel in range(2):
            target = root / "imagesTr" / f"c{number}_{channel:04d}.nii.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tmp_path / "plain" / "images" / f"c{number}.nii.gz", target)
            if channel:
                image = nib.load(target)
                nib.save(nib.Nifti1Image(-np.asarray(image.dataobj), image.affine), target)
        (root / "labelsTr").mkdir(exist_ok=True)
        shutil.copy(tmp_path / "plain" / "labels" / f"c{number}.nii.gz", root / "labelsTr")
    (root / "dataset.json").write_text(
        json.dumps({"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "a": 1, "b": 2}})
    )
    (root / "imagesTr" / "c3_0001.nii.gz").unlink()
    return root


def test_train_and_predict_with_missing_sequences(sequences, tmp_path):
    config = train_config(
        sequences,
        arm={
            "method": "lifted",
            "network": "timm:test_resnet",
            "pretrained": False,
            "decoder_channels": 8,
            "sequences": "shared",
        },
        preprocessing={"missing_channels": "allow"},
        training={"patch_size": [8, 8, 8], "batch_size": 1, "num_threads": 1, "device": "cpu", "channel_dropout": 0.3},
        budget={"steps": 2},
    )
    train(config, tmp_path / "run")
    shutil.rmtree(tmp_path / "in", ignore_errors=True)
    (tmp_path / "in").mkdir()
    for name in ("c0_0000", "c0_0001", "c3_0000"):
        shutil.copy(sequences / "imagesTr" / f"{name}.nii.gz", tmp_path / "in")
    written = predict(tmp_path / "run", [tmp_path / "in"], tmp_path / "out")
    assert [path.name for path in written] == ["c0.nii.gz", "c3.nii.gz"]
    trained = Predictor.load(tmp_path / "run" / "weights")
    alone = trained.preprocessing.read_image(
        [sequences / "imagesTr" / "c3_0000.nii.gz", sequences / "imagesTr" / "c3_0001.nii.gz"]
    )
    assert [channel.any() for channel in alone.image] == [True, False]
    labels = trained.preprocessing.restore(trained.predict(alone), alone.geometry)
    np.testing.assert_array_equal(labels, np.asarray(nib.load(tmp_path / "out" / "c3.nii.gz").dataobj))


def test_three_ct_windows_become_three_channels(data, tmp_path):
    config = train_config(
        data,
        arm={"method": "slicewise", "network": "timm:test_resnet", "pretrained": False, "decoder_channels": 8},
        preprocessing={"modality": "ct", "windows": [[0, 4], [1, 2], [-1, 2]]},
        budget={"steps": 1},
    )
    train(config, tmp_path / "run")
    trained = Predictor.load(tmp_path / "run" / "weights")
    assert trained.task.in_channels == 3
    assert trained.preprocessing.channels == ("image",)
    (path,) = predict(tmp_path / "run", [data / "images" / "case_0.nii.gz"], tmp_path / "out")
    assert nib.load(path).shape == nib.load(data / "images" / "case_0.nii.gz").shape


def test_network_with_own_decoder_rejects_shared_sequences():
    with pytest.raises(ConfigError, match="sequences=channels"):
        LiftedConfig(network="smp:unet-resnet18", sequences="shared").build(
            TaskSpec("segmentation", 2, 2, None, (8, 8, 8))
        )
