"""The JSON beside each predicted file, `--strict` and `--skip-corrupt`."""

import json
from importlib.metadata import version

import nibabel as nib
import numpy as np
import pytest
import torch
from command_line import run_cli, run_rejected

from dimlift.data.datasets.point_cloud_index import index_point_clouds
from dimlift.errors import DataError, RunError
from dimlift.file_digest import file_sha256
from dimlift.inference import predict_files
from dimlift.inference.embed import readable_clouds
from dimlift.inference.finite_outputs import require_finite
from dimlift.inference.predict_files import predict
from dimlift.inference.prediction_report import report_path
from dimlift.records.embeddings import Embeddings
from dimlift.records.weights import read_card
from dimlift.studies.train import train
from small_runs import train_config, write_case


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that learnt to segment the blobs of eight cases."""
    folder = tmp_path_factory.mktemp("reports")
    for number in range(12):
        write_case(folder / "data", f"case_{number}", number)
    training = {"patch_size": [8, 8, 8], "batch_size": 2, "lr": 0.02, "augment": False, "num_threads": 1}
    arm = {"method": "unet", "widths": [8, 16], "residual_units": 1}
    train(train_config(folder / "data", budget={"steps": 60}, training=training, arm=arm), folder / "run")
    return folder / "run"


@pytest.fixture
def inputs(run, tmp_path):
    """Three cases that the run was not trained on."""
    folder = tmp_path / "in"
    trained = set(json.loads(next((run / "records").glob("*.json")).read_text())["extra"]["training_cases"])
    held_out = [f"case_{number}" for number in range(12) if f"case_{number}" not in trained][:3]
    folder.mkdir()
    for number, name in enumerate(held_out):
        source = run.parent / "data" / "images" / f"{name}.nii.gz"
        (folder / f"c{number}.nii.gz").write_bytes(source.read_bytes())
    return folder


def brighten(path):
    image = nib.load(path)
    nib.save(nib.Nifti1Image(image.get_fdata(dtype=np.float32) * 40, image.affine), path)


def break_file(path):
    path.write_bytes(path.read_bytes()[:200])


def test_report_states_weights_version_and_coverage_and_no_warning(run, inputs, tmp_path):
    written = predict(run, [inputs], tmp_path / "out")
    assert [path.name for path in written] == ["c0.nii.gz", "c1.nii.gz", "c2.nii.gz"]
    for path in written:
        found = json.loads((tmp_path / "out" / path.name.replace(".nii.gz", ".json")).read_text())
        assert found["weights_sha256"] == [file_sha256(run / "weights" / "model.safetensors")]
        assert (found["schema"], found["dimlift"], found["inputs"]) == (1, version("dimlift"), [path.name])
        assert found["warnings"] == []
        assert found["compared_with_training"] is True
        voxels = int(np.prod(nib.load(path).shape))
        assert (found["coverage"]["predicted"], found["coverage"]["total"]) == (voxels, voxels)
        assert found["coverage"]["share"] == 1
        labels = np.asarray(nib.load(path).dataobj)
        assert found["foreground_ml"] == pytest.approx({str(v): (labels == v).sum() * 0.002 for v in (1, 2)})


def test_report_of_several_runs_names_the_weights_of_each(run, inputs, tmp_path):
    predict([run, run], [inputs / "c0.nii.gz"], tmp_path / "labels.nii.gz")
    found = json.loads((tmp_path / "labels.json").read_text())
    assert len(found["weights_sha256"]) == 2
    assert found["coverage"]["windows"] == 24
    assert found["coverage"]["share"] == 1


def test_unusual_case_is_a_warning_on_the_console_and_in_the_report(run, inputs, tmp_path):
    brighten(inputs / "c1.nii.gz")
    done = run_cli("predict", run, inputs, tmp_path / "out")
    assert done.code == 0
    assert "warning: c1: 99.5th percentile of image is" in done.message
    assert "warning: c0" not in done.message
    found = {n: json.loads((tmp_path / "out" / f"c{n}.json").read_text())["warnings"] for n in range(3)}
    assert (found[0], found[2]) == ([], [])
    assert any(sentence.startswith("99.5th percentile of image is") for sentence in found[1])


def test_strict_refuses_an_unusual_case_before_anything_is_written(run, inputs, tmp_path):
    brighten(inputs / "c1.nii.gz")
    message = run_rejected("predict", run, inputs, tmp_path / "out", "--strict")
    assert "c1.nii.gz: lies outside what training held: " in message
    assert "c0.nii.gz" not in message
    assert not (tmp_path / "out").exists()
    done = run_cli("predict", run, inputs, tmp_path / "out", "--strict", "--skip-corrupt")
    assert done.code == 3
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "c0.json", "c0.nii.gz", "c2.json", "c2.nii.gz"
    ]  # fmt: skip


def test_strict_refuses_unusual_foreground_before_it_is_written(run, inputs, tmp_path):
    card = read_card(run / "weights")
    del card["settings_sha256"]
    card["training_range"]["foreground_ml"]["1"] = [1000.0, 2000.0]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.json").write_text(json.dumps(card))
    (tmp_path / "run" / "model.safetensors").write_bytes((run / "weights" / "model.safetensors").read_bytes())
    with pytest.raises(DataError, match=r"c0\.nii\.gz: lies outside .* predicted volume of 1 in ml"):
        predict(tmp_path / "run", [inputs], tmp_path / "out", strict=True)
    assert not (tmp_path / "out").exists()
    predict(tmp_path / "run", [inputs], tmp_path / "out")
    warnings = json.loads((tmp_path / "out" / "c0.json").read_text())["warnings"]
    assert [sentence.split(" is ")[0] for sentence in warnings] == ["predicted volume of 1 in ml"]
    card["training_range"] = None
    (tmp_path / "run" / "model.json").write_text(json.dumps(card))
    with pytest.raises(RunError, match="states no training_range"):
        predict(tmp_path / "run", [inputs], tmp_path / "strict", strict=True)
    predict(tmp_path / "run", [inputs / "c0.nii.gz"], tmp_path / "old")
    assert json.loads((tmp_path / "old" / "c0.json").read_text())["compared_with_training"] is False


def test_broken_cases_are_all_named_before_any_work(run, inputs, tmp_path):
    (inputs / "c0.nii.gz").write_bytes((inputs / "c0.nii.gz").read_bytes()[:-20])  # a whole header
    break_file(inputs / "c2.nii.gz")
    message = run_rejected("predict", run, inputs, tmp_path / "out")
    assert "the data has 2 errors" in message
    assert "c0.nii.gz" in message
    assert "c2.nii.gz" in message
    assert not (tmp_path / "out").exists()


def test_skip_corrupt_predicts_the_others_and_lists_broken_cases(run, inputs, tmp_path):
    break_file(inputs / "c1.nii.gz")
    whole = predict(run, [inputs / "c0.nii.gz", inputs / "c2.nii.gz"], tmp_path / "whole")
    done = run_cli("predict", run, inputs, tmp_path / "out", "--skip-corrupt")
    assert done.code == 3
    assert "left out 1 case; the others are finished:" in done.err
    assert "c1.nii.gz" in done.err.splitlines()[-1]
    for path in whole:
        np.testing.assert_array_equal(nib.load(path).dataobj, nib.load(tmp_path / "out" / path.name).dataobj)
    assert run_cli("predict", run, whole[0].parent, tmp_path / "again", "--skip-corrupt").code == 0


def test_skip_corrupt_refuses_if_no_case_is_left(run, inputs, tmp_path):
    for path in inputs.iterdir():
        break_file(path)
    assert "the data has 3 errors" in run_rejected("predict", run, inputs, tmp_path / "out", "--skip-corrupt")
    assert not (tmp_path / "out").exists()


def test_skip_corrupt_leaves_out_a_case_whose_outputs_are_not_finite(run, inputs, tmp_path, monkeypatch):
    predict_case = predict_files.predict_case

    def predict_nan(members, images, read, *more):
        if images[0].name == "c1.nii.gz":
            require_finite(torch.tensor([torch.nan]), "c1", "window at depth 0")
        return predict_case(members, images, read, *more)

    monkeypatch.setattr(predict_files, "predict_case", predict_nan)
    with pytest.raises(RunError, match="c1, window at depth 0: 1 of 1 outputs"):
        predict(run, [inputs], tmp_path / "refused")
    done = run_cli("predict", run, inputs, tmp_path / "out", "--skip-corrupt")
    assert done.code == 3
    assert "c1.nii.gz: c1, window at depth 0: 1 of 1 outputs of the network are NaN or infinite" in done.message
    assert sorted(path.name for path in (tmp_path / "out").glob("*.gz")) == ["c0.nii.gz", "c2.nii.gz"]


def test_report_never_replaces_another_file(run, inputs, tmp_path):
    (inputs / "c0.json").write_text('{"EchoTime": 0.03}')  # a sidecar of BIDS
    with pytest.raises(RunError, match=r"c0\.json exists and is no report"):
        predict(run, [inputs / "c0.nii.gz"], inputs, output_format="nrrd")
    assert sorted(path.name for path in inputs.iterdir()) == ["c0.json", "c0.nii.gz", "c1.nii.gz", "c2.nii.gz"]
    for _ in range(2):  # an earlier report may be replaced
        predict(run, [inputs / "c1.nii.gz"], tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.nii.gz", "a.json"),
        ("a.b.NII", "a.b.json"),
        ("s.seg.dcm", "s.json"),
        ("x.dcm", "x.json"),
        ("c.ply", "c.json"),
    ],
)
def test_report_has_the_stem_of_its_output(name, expected, tmp_path):
    suffixes = (".nii.gz", ".nii", ".seg.dcm", ".dcm", ".ply")
    assert report_path(tmp_path / name, suffixes) == tmp_path / expected


def test_embed_skips_corrupt_volumes_and_refuses_them_by_default(inputs, tmp_path):
    break_file(inputs / "c1.nii.gz")
    table = tmp_path / "table.csv"
    table.write_text("image,label\n" + "".join(f"in/c{n}.nii.gz,{'ab'[n % 2]}\n" for n in range(3)))
    options = ("--planes", 1, "--upsample", 1, "--out", tmp_path / "emb.npz")
    assert "c1.nii.gz" in run_rejected("embed", table, *options)
    assert not (tmp_path / "emb.npz").exists()
    done = run_cli("embed", table, *options, "--skip-corrupt")
    assert done.code == 3
    assert "left out 1 case" in done.err
    assert "c1.nii.gz" in done.err.splitlines()[-1]
    assert Embeddings.load(tmp_path / "emb.npz").names.tolist() == ["c0", "c2"]


def test_embed_skips_corrupt_point_clouds(tmp_path):
    for number in range(3):
        np.save(tmp_path / f"c{number}.npy", np.random.default_rng(number).normal(size=(64, 3)))
    (tmp_path / "c1.npy").write_bytes(b"cut")
    with pytest.raises(DataError, match=r"c1\.npy"):
        readable_clouds(index_point_clouds(tmp_path), None)
    skipped = []
    kept = readable_clouds(index_point_clouds(tmp_path), skipped.append)
    assert [entry.name for entry in kept] == ["c0.npy", "c2.npy"]
    assert [issue.file for issue in skipped] == [str(tmp_path / "c1.npy")]
