"""Runs that are refused in one sentence: batch norm without a variance, and another run or other data in a folder."""

import shutil

import nibabel as nib
import numpy as np
import pytest

from dimlift.errors import RunError
from dimlift.studies.train import train
from small_runs import train_config, write_case


def test_batch_norm_with_one_value_per_channel_is_refused_at_the_first_step(data, tmp_path):
    pytest.importorskip("segmentation_models_pytorch")
    # a pooled map of the decoder has one value per channel
    options = {"patch_size": [1, 32, 32], "batch_size": 1, "num_threads": 1, "device": "cpu"}
    arm = {"method": "lifted", "network": "smp:DeepLabV3Plus/resnet18", "pretrained": False}
    config = train_config(data, arm=arm, training=options, budget={"steps": 1})
    with pytest.raises(RunError, match=r"single value per channel.*batch of 1.*training\.batch_size=2"):
        train(config, tmp_path / "run")
    assert not list((tmp_path / "run").glob("weights/*"))


@pytest.fixture
def copied(data, tmp_path):
    """A data set of its own, and the folder of a run on it."""
    shutil.copytree(data, tmp_path / "data")
    train(train_config(tmp_path / "data", budget={"steps": 1}), tmp_path / "run")
    return tmp_path / "data", tmp_path / "run"


def test_another_configuration_in_a_folder_is_refused_by_its_keys(copied):
    data, out = copied
    with pytest.raises(RunError, match=r"holds another run \(it differs in seed\)"):
        train(train_config(data, budget={"steps": 1}, seed=1), out)
    with pytest.raises(RunError, match=r"it differs in arm\.widths"):
        train(
            train_config(data, budget={"steps": 1}, arm={"method": "unet", "widths": [4, 16], "residual_units": 0}), out
        )


def test_changed_data_under_a_run_are_named(copied):
    data, out = copied
    path = data / "images" / "case_0.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) + 1, image.affine), path)
    write_case(data, "case_9", 9)
    for kind in ("images", "labels"):
        (data / kind / "case_5.nii.gz").unlink()
    with pytest.raises(RunError) as fault:
        train(train_config(data, budget={"steps": 1}), out)
    message = str(fault.value)
    assert "holds a run on other data: images/case_0.nii.gz changed; " in message
    assert "case_9.nii.gz" in message.split("changed; ")[1].split(" added")[0]
    assert "case_5.nii.gz" in message.split("added; ")[1].split(" removed")[0]
