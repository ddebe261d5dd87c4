"""Memory of prediction: bounded peak, estimates, and limits."""

import json

import nibabel as nib
import numpy as np
import pytest

from dimlift.config.method_config import TaskSpec
from dimlift.data.preprocessing.intensity import IntensityNormalisation
from dimlift.data.preprocessing.preprocessing import Preprocessing
from dimlift.errors import ConfigError, RunError
from dimlift.inference.predict_files import predict
from dimlift.inference.predictor import Predictor
from dimlift.methods.baselines.unets import UNetConfig
from dimlift.training.memory import parse_bytes

from .small_run import begin, finish


def run_program(function, *arguments):
    code, output, errors = finish(begin(function, *arguments), timeout=1100)
    assert code == 0, errors
    return json.loads(output)


def untrained(folder, classes, window, overlap=0.5, spacing=None, widths=(4, 8)):
    """Write the weights folder of an untrained network."""
    labels = {f"organ {number}": number for number in range(1, classes)}
    typical = spacing or (1.0, 1.0, 1.0)
    preprocessing = Preprocessing(("CT",), labels, None, spacing, typical, "z", (IntensityNormalisation("zscore"),))
    arm = UNetConfig(widths=widths, residual_units=0)
    task = TaskSpec("segmentation", 1, classes, typical, window)
    return Predictor(arm, task, preprocessing, arm.build(task), overlap).save(folder)


def noise(path, shape, spacing=(1.0, 1.0, 1.0)):
    """Write a file of 16-bit noise with a large structure."""
    rng = np.random.default_rng(0)
    array = np.empty(shape, np.int16, order="F")
    for k in range(shape[2]):
        array[..., k] = rng.integers(-50, 50, shape[:2], np.int16) + np.int16(10 * (k % 40))
    nib.save(nib.Nifti1Image(array, np.diag([*spacing, 1.0])), path)
    return path


def test_segmentation_fits_into_less_memory_than_all_scores():
    shape = [192, 64, 64]  # scores of 20 classes: 63 MB
    # the failure of the full-size prediction shows that the limit is effective
    assert run_program("segment_within", 48, shape) == ["tiles", shape, "full size: out of memory"]


def test_peak_memory_is_independent_of_depth():
    short, long = run_program("peaks", [[64, 64, 64], [384, 64, 64]])
    assert long < short + 8 * 2**20, (short, long)


def test_out_of_memory_error_suggests_patch_size():
    message = run_program("train_within", 60)
    assert "memory ran out with a batch of 2 patches of 64 x 96 x 128 voxels" in message
    assert "set training.batch_size=1, set training.patch_size=[64, 96, 64]" in message


@pytest.mark.parametrize("spacing", [pytest.param(None, marks=pytest.mark.slow), (2.0, 1.5, 1.5)])
def test_memory_estimate_is_reported_and_not_exceeded(tmp_path, spacing):
    run = untrained(tmp_path / "run", 20, (16, 32, 32), spacing=spacing)
    image = noise(tmp_path / "scan.nii", (96, 96, 160))
    found = run_program("predict_and_measure", str(run), str(image), str(tmp_path / "out.nii.gz"), "8GiB")
    (message,) = found["messages"]
    assert message.startswith("scan (")
    estimate = parse_bytes(message.split("about ")[1].split(" of memory")[0])
    assert found["peak"] <= estimate * 1.01  # two digits are shown
    assert estimate < found["peak"] + 300 * 2**20
    assert nib.load(tmp_path / "out.nii.gz").shape == (96, 96, 160)


def test_predict_rejects_cases_beyond_memory_limit(tmp_path):
    run = untrained(tmp_path / "run", 3, (16, 16, 16))
    images = [noise(tmp_path / f"{name}.nii.gz", (20, 20, size)) for name, size in (("small", 10), ("tall", 30))]
    with pytest.raises(RunError, match=r"tall \(30 x 20 x 20 voxels\): about .* at the peak .*; 50 MiB are allowed"):
        predict(run, images, tmp_path / "out", max_memory=parse_bytes("50MiB"))
    assert not (tmp_path / "out").exists()


def test_parse_bytes_reads_common_units():
    assert [parse_bytes(text) for text in ("3GiB", "2.5 G", "800M", "12", "1 kB")] == [
        3 * 2**30,
        25 * 10**8,
        8 * 10**8,
        12,
        1000,
    ]
    for text in ("much", "3 GiBs", "-1G", ""):
        with pytest.raises(ConfigError, match="write for example 3GiB"):
            parse_bytes(text)


@pytest.mark.slow
def test_large_scan_stays_below_three_gibibytes(tmp_path):
    """512 x 512 x 800 voxels, 20 classes."""
    run = untrained(tmp_path / "run", 20, (32, 64, 64), overlap=0.25, widths=(4, 4))
    image = noise(tmp_path / "scan.nii", (512, 512, 800), (0.8, 0.8, 1.0))
    found = run_program("predict_and_measure", str(run), str(image), str(tmp_path / "labels.nii.gz"), "3GiB")
    assert found["peak"] < 3 * 2**30, found
    assert nib.load(tmp_path / "labels.nii.gz").shape == (512, 512, 800)
