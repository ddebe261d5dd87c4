"""`predict`: label files on the grid of the input, with the label values of the training data."""

import json

import nibabel as nib
import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from scipy import ndimage

from dimlift.data.datasets.inference_inputs import find_inference_cases
from dimlift.data.io.readers import VOLUME_READERS, Reader
from dimlift.errors import ConfigError, DataError, DimliftError, RunError, WeightsError
from dimlift.file_digest import file_sha256
from dimlift.inference import usable_cases
from dimlift.inference.predict_files import predict
from dimlift.inference.predictor import Predictor
from dimlift.records.weights import read_card, weights_folder
from dimlift.studies.train import train
from small_runs import train_config
from small_series import make_slices, save_slices


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A run trained long enough to segment the bright blob."""
    out = tmp_path_factory.mktemp("runs") / "run"
    training = {
        "patch_size": [8, 8, 8],
        "batch_size": 2,
        "lr": 0.02,
        "augment": False,
        "num_threads": 1,
        "device": "cpu",
    }
    arm = {"method": "unet", "widths": [8, 16], "residual_units": 1}
    train(train_config(data, budget={"steps": 60}, training=training, arm=arm), out)
    return out


def test_predict_writes_labels_on_the_grid_of_the_file(run, data, tmp_path):
    source = nib.load(data / "images" / "case_0.nii.gz")
    turned = nib.as_closest_canonical(source).slicer[1:, ::-1, :]
    turned = nib.Nifti1Image(np.asarray(turned.dataobj).transpose(2, 0, 1), turned.affine @ np.eye(4)[[1, 2, 0, 3]].T)
    nib.save(turned, tmp_path / "turned.nii.gz")
    (written,) = predict(run, [tmp_path / "turned.nii.gz"], tmp_path / "out")
    found = nib.load(written)
    assert found.shape == turned.shape
    np.testing.assert_array_equal(found.affine, turned.affine)
    assert set(np.unique(np.asarray(found.dataobj))) <= {0, 1, 2}


@pytest.mark.parametrize("axes", [1, 2])
def test_predict_keeps_the_number_of_axes_of_the_file(run, data, tmp_path, axes):
    source = nib.load(data / "images" / "case_0.nii.gz")
    flat = np.asarray(source.dataobj)[(slice(None),) * axes + (5,) * (3 - axes)]
    nib.save(nib.Nifti1Image(flat, source.affine), tmp_path / "flat.nii.gz")
    (written,) = predict(run, [tmp_path / "flat.nii.gz"], tmp_path / "out.nii.gz")
    assert nib.load(written).shape == flat.shape


def test_predict_repeats_the_predictions_of_the_run(run, data, tmp_path):
    log_scores = sorted((run / "predictions").glob("*.nii.gz"))
    inputs = [data / "images" / path.name for path in log_scores]
    for path, again in zip(log_scores, predict(run, inputs, tmp_path), strict=True):
        np.testing.assert_array_equal(nib.load(path).get_fdata(), nib.load(again).get_fdata())


def test_predict_keeps_the_largest_component_of_the_named_labels(run, data, tmp_path):
    image = data / "images" / "case_0.nii.gz"
    labels = list(Predictor.load(run / "weights").preprocessing.labels)
    (plain,) = predict(run, [image], tmp_path / "plain")
    (kept,) = predict(run, [image], tmp_path / "kept", keep_largest=labels)
    before, after = (np.asarray(nib.load(path).dataobj) for path in (plain, kept))
    for value in np.unique(before[before > 0]):
        components, count = ndimage.label(before == value, np.ones((3, 3, 3)))
        assert (after == value).sum() == (np.bincount(components.ravel())[1:].max() if count else 0)
    reports = [json.loads(path.with_suffix("").with_suffix(".json").read_text()) for path in (plain, kept)]
    assert sum(reports[1]["foreground_ml"].values()) <= sum(reports[0]["foreground_ml"].values())
    with pytest.raises(ConfigError, match="no label 'liver'"):
        predict(run, [image], tmp_path / "other", keep_largest=["liver"])


def test_training_reaches_dice_above_half(run):
    (record,) = [json.loads(path.read_text()) for path in (run / "records").glob("*.json")]
    assert np.mean([s["value"] for s in record["scores"] if s["metric"] == "dice"]) > 0.5


def test_predict_folder_writes_one_file_for_each_volume(run, data, tmp_path):
    written = predict(run, [data / "images"], tmp_path)
    assert [path.name for path in written] == [f"case_{n}.nii.gz" for n in range(6)]


@pytest.fixture
def reads(monkeypatch):
    """Names of the NIfTI files read, once for each time."""
    found, (read_volume, read_grid) = [], VOLUME_READERS[".nii.gz"]
    counted = Reader(lambda path: found.append(path.name) or read_volume(path), read_grid)
    monkeypatch.setitem(VOLUME_READERS, ".nii.gz", counted)
    return found


def test_predict_reads_every_file_once(run, data, tmp_path, reads):
    predict(run, [data / "images"], tmp_path / "several")
    assert sorted(reads) == [f"case_{n}.nii.gz" for n in range(6)]
    reads.clear()
    predict([run, run], [data / "images" / "case_0.nii.gz"], tmp_path / "averaged")
    assert reads == ["case_0.nii.gz"]


def test_predict_reads_again_what_exceeds_the_cache(run, data, tmp_path, reads, monkeypatch):
    several = predict(run, [data / "images"], tmp_path / "several")
    monkeypatch.setattr(usable_cases, "CACHE_BYTES", 8000)  # a volume takes 6720 bytes
    reads.clear()
    again = predict(run, [data / "images"], tmp_path / "again")
    assert len(reads) == 11
    for one, other in zip(several, again, strict=True):
        np.testing.assert_array_equal(nib.load(one).get_fdata(), nib.load(other).get_fdata())
    reads.clear()
    predict(run, [data / "images" / "case_0.nii.gz"], tmp_path / "alone")
    assert len(reads) == 1  # a single volume is always kept


def test_predict_pads_small_volumes(run, data, tmp_path):
    small = nib.load(data / "images" / "case_0.nii.gz").slicer[:5, :4, :3]
    nib.save(small, tmp_path / "small.nii.gz")
    (written,) = predict(run, [tmp_path / "small.nii.gz"], tmp_path / "out")
    assert nib.load(written).shape == (5, 4, 3)


def test_predict_refuses_a_wrong_number_of_channels(run, data, tmp_path):
    image = nib.load(data / "images" / "case_0.nii.gz")
    two = nib.Nifti1Image(np.stack([image.get_fdata()] * 2, axis=-1).astype(np.float32), image.affine)
    nib.save(two, tmp_path / "two.nii.gz")
    with pytest.raises(DataError, match=r"two.nii.gz.*2 channels; 1 are expected"):
        predict(run, [tmp_path / "two.nii.gz"], tmp_path / "out")
    for channel in range(2):
        nib.save(image, tmp_path / f"pair_{channel:04d}.nii.gz")
    pair = [tmp_path / f"pair_{channel:04d}.nii.gz" for channel in range(2)]
    with pytest.raises(DataError, match=r"case pair has \d channel files"):  # a network of CASE_0000 files
        find_inference_cases(pair, ["T1"], numbered_files=True)
    assert not (tmp_path / "out").exists()
    written = predict(run, pair, tmp_path / "out")  # this one was trained on files without channel numbers
    assert sorted(path.name for path in written) == ["pair_0000.nii.gz", "pair_0001.nii.gz"]


@pytest.mark.parametrize("inputs", [[], ["nowhere.nii.gz"], ["."]])
def test_find_inference_cases_refuses_no_input(inputs, tmp_path):
    with pytest.raises(DataError, match=r"no input|does not exist|holds no"):
        find_inference_cases([tmp_path / name for name in inputs], ["T1"])


def test_predict_checks_every_input_first(run, data, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("case_0.nii.gz", "case_1.nii.gz"):
        (folder / name).write_bytes((data / "images" / name).read_bytes())
    (folder / "case_1.nii.gz").write_bytes((data / "images" / "case_1.nii.gz").read_bytes()[:-20])
    with pytest.raises(DataError, match="case_1"):
        predict(run, [folder], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_predict_dicom_series_writes_segmentation_or_requested_format(run, data, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    image = nib.load(data / "images" / "case_0.nii.gz").get_fdata()
    stored = np.rint(100 * image).astype(np.int16)
    series = save_slices(tmp_path / "series", make_slices(stored, "MR"))
    (written,) = predict(run, [series], tmp_path / "out")
    assert written.name == "series.seg.dcm"
    assert pydicom.dcmread(written).Modality == "SEG"
    (written,) = predict(run, [series], tmp_path / "out", output_format="rtstruct")
    assert pydicom.dcmread(written).Modality == "RTSTRUCT"
    (written,) = predict(run, [series], tmp_path / "labels.nrrd")
    assert written == tmp_path / "labels.nrrd"
    with pytest.raises(RunError, match="among the slices of its own series"):
        predict(run, [series], series)
    with pytest.raises(DataError, match="not a DICOM series"):
        predict(run, [data / "images" / "case_0.nii.gz"], tmp_path / "no", output_format="dicom-seg")
    with pytest.raises(RunError, match=r"no suffix of the format nrrd; name it"):
        predict(run, [series], tmp_path / "a.mha", output_format="nrrd")
    assert not (tmp_path / "no").exists()


def test_weights_folder_refuses_missing_or_unfinished_runs(tmp_path):
    with pytest.raises(RunError, match="there is no run"):
        weights_folder(tmp_path / "none")
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(RunError, match="training is not finished"):
        weights_folder(tmp_path)


def test_predict_names_weights_that_do_not_fit(run, data, tmp_path):
    source = run / "weights"
    state = load_file(source / "model.safetensors")
    name = sorted(state)[0]
    wrong = {**state, name: state[name].repeat(2, *[1] * (state[name].ndim - 1)), "extra": state[name].clone()}
    save_file(wrong, tmp_path / "model.safetensors")
    card = {**read_card(source), "weights_sha256": file_sha256(tmp_path / "model.safetensors")}
    (tmp_path / "model.json").write_text(json.dumps(card))
    with pytest.raises(WeightsError, match=r"extra is unexpected") as fault:
        predict(tmp_path, [data / "images"], tmp_path / "out")
    assert name in str(fault.value)


def test_predict_refuses_a_card_with_unknown_method(run, data, tmp_path):
    source = run / "weights"
    (tmp_path / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes())
    card = json.loads((source / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**card, "arm": {"method": "unett"}}))
    with pytest.raises(DimliftError, match="unknown method 'unett'"):
        predict(tmp_path, [data / "images"], tmp_path / "out")
