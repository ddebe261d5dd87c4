"""Memory is bounded: predicting holds slabs, an estimate is said before it starts, and a limit is kept or refused."""

import json

import nibabel as nib
import numpy as np
import pytest

from dimlift.config.method_config import Task
from dimlift.data.preprocessing.intensity import Normalisation
from dimlift.data.preprocessing.preprocessing import Preprocessing
from dimlift.errors import ConfigError, RunError
from dimlift.inference.predict_files import predict
from dimlift.inference.predictor import Trained
from dimlift.methods.baselines.unets import UNetArm
from dimlift.training.memory import bytes_of

from .small_run import begin, finish


def answer(function, *arguments):
    code, said, complained = finish(begin(function, *arguments), timeout=1100)
    assert code == 0, complained
    return json.loads(said)


def untrained(folder, classes, window, overlap=0.5, spacing=None, widths=(4, 8)):
    """A weights folder of a network that has learnt nothing."""
    labels = {f"organ {number}": number for number in range(1, classes)}
    typical = spacing or (1.0, 1.0, 1.0)
    preprocessing = Preprocessing(("CT",), labels, None, spacing, typical, "z", (Normalisation("zscore"),))
    arm = UNetArm(widths=widths, residual_units=0)
    task = Task("segmentation", 1, classes, typical, window)
    return Trained(arm, task, preprocessing, arm.build(task), overlap).save(folder)


def noise(path, shape, spacing=(1.0, 1.0, 1.0)):
    """A file of 16-bit noise with a large structure in it."""
    rng = np.random.default_rng(0)
    array = np.empty(shape, np.int16, order="F")
    for k in range(shape[2]):
        array[..., k] = rng.integers(-50, 50, shape[:2], np.int16) + np.int16(10 * (k % 40))
    nib.save(nib.Nifti1Image(array, np.diag([*spacing, 1.0])), path)
    return path


def test_labels_come_out_of_an_address_space_that_all_scores_do_not_fit_into():
    shape = [192, 64, 64]  # scores of 20 classes: 63 MB
    # that the whole is refused shows that the limit is one
    assert answer("segment_within", 48, shape) == ["tiles", shape, "in one: refused"]


def test_the_peak_beyond_input_and_output_does_not_grow_with_depth():
    short, long = answer("peaks", [[64, 64, 64], [384, 64, 64]])
    assert long < short + 8 * 2**20, (short, long)


def test_running_out_of_memory_names_the_patch_to_try():
    told = answer("train_within", 60)
    assert "memory ran out at a batch of 2 patches of 64 x 96 x 128 voxels" in told
    assert "set training.batch_size=1, set training.patch_size=[64, 96, 64]" in told


@pytest.mark.parametrize("spacing", [pytest.param(None, marks=pytest.mark.slow), (2.0, 1.5, 1.5)])
def test_the_estimate_is_said_and_is_not_exceeded(tmp_path, spacing):
    run = untrained(tmp_path / "run", 20, (16, 32, 32), spacing=spacing)
    image = noise(tmp_path / "scan.nii", (96, 96, 160))
    found = answer("predict_and_measure", str(run), str(image), str(tmp_path / "out.nii.gz"), "8GiB")
    (told,) = found["told"]
    assert told.startswith("scan (")
    said = bytes_of(told.split("about ")[1].split(" of memory")[0])
    assert found["peak"] <= said * 1.01  # two digits are shown
    assert said < found["peak"] + 300 * 2**20
    assert nib.load(tmp_path / "out.nii.gz").shape == (96, 96, 160)


def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path):
    run = untrained(tmp_path / "run", 3, (16, 16, 16))
    images = [noise(tmp_path / f"{name}.nii.gz", (20, 20, size)) for name, size in (("small", 10), ("tall", 30))]
    with pytest.raises(RunError, match=r"tall \(30 x 20 x 20 voxels\): about .* at the peak .*; 50 MiB are allowed"):
        predict(run, images, tmp_path / "out", max_memory=bytes_of("50MiB"))
    assert not (tmp_path / "out").exists()


def test_sizes_are_read_as_people_write_them():
    assert [bytes_of(text) for text in ("3GiB", "2.5 G", "800M", "12", "1 kB")] == [
        3 * 2**30,
        25 * 10**8,
        8 * 10**8,
        12,
        1000,
    ]
    for text in ("much", "3 GiBs", "-1G", ""):
        with pytest.raises(ConfigError, match="write for example 3GiB"):
            bytes_of(text)


@pytest.mark.slow
def test_a_large_scan_of_twenty_classes_stays_under_three_gibibytes(tmp_path):
    """512 x 512 x 800, as a scanner gives it."""
    run = untrained(tmp_path / "run", 20, (32, 64, 64), overlap=0.25, widths=(4, 4))
    image = noise(tmp_path / "scan.nii", (512, 512, 800), (0.8, 0.8, 1.0))
    found = answer("predict_and_measure", str(run), str(image), str(tmp_path / "labels.nii.gz"), "3GiB")
    print(found)
    assert found["peak"] < 3 * 2**30, found
    assert nib.load(tmp_path / "labels.nii.gz").shape == (512, 512, 800)
