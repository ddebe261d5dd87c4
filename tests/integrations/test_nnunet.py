"""nnU-Net with frozen features: datasets, networks, and a run of nnU-Net itself."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

from dimlift.errors import DataError, ShapeError
from dimlift.integrations.nnunet.features import (
    FeatureDataset,
    FeatureInputNetwork,
    ImageWithFeatures,
    write_case_features,
)
from dimlift.methods.frozen_features.extraction import FeatureExtractor
from dimlift.methods.frozen_features.settings import FeatureExtractionSettings

ROOT = Path(__file__).parents[2]
HIPPOCAMPUS = ROOT.parent / "shared" / "data" / "hippocampus"


class Cases:
    """Cases in memory, with the interface of nnU-Net's datasets."""

    def __init__(self, count=3):
        rng = np.random.default_rng(0)
        self.arrays = {f"case_{i}": rng.normal(size=(1, 9, 10, 8)).astype(np.float32) for i in range(count)}
        self.identifiers = sorted(self.arrays)

    def load_case(self, name):
        return self.arrays[name], None, None, {"name": name}


def network(num_components=6):
    settings = FeatureExtractionSettings(network="filters", planes=("depth", "height"), upsample=1.0)
    torch.manual_seed(0)
    return FeatureInputNetwork(
        nn.Conv3d(1 + num_components, 2, 1), FeatureExtractor(settings), 1, num_components, (1.0, 1.0, 1.0)
    )


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    extended, cases, folder = network(), Cases(), tmp_path_factory.mktemp("stored")
    write_case_features(extended, cases, ["case_0", "case_1"], folder / "fold", folder / "cache", lambda _: None)
    return extended, cases, folder


def test_image_with_features_boxes_equal_the_whole(stored):
    _, cases, folder = stored
    data = FeatureDataset(lambda: cases, folder / "fold").load_case("case_2")[0]
    whole = data[:]
    assert whole.shape == data.shape == (7, 9, 10, 8)
    np.testing.assert_array_equal(whole[:1], cases.arrays["case_2"])
    np.testing.assert_allclose(data[:, 2:7, 0:4, 3:8], whole[:, 2:7, 0:4, 3:8], atol=1e-5)
    assert np.abs(whole[1:]).max() > 0


def test_features_of_training_cases_are_standardised(stored):
    extended, cases, folder = stored
    data = FeatureDataset(lambda: cases, folder / "fold")
    both = np.concatenate([data.load_case(name)[0][:][1:].reshape(6, -1) for name in ("case_0", "case_1")], axis=1)
    assert np.abs(both.mean(1)).max() < 0.3
    assert bool(extended.projection.fitted)


def test_network_computes_features_of_an_image(stored):
    extended, cases, folder = stored
    image = torch.from_numpy(cases.arrays["case_2"])[None]
    given = torch.from_numpy(FeatureDataset(lambda: cases, folder / "fold").load_case("case_2")[0][:])[None]
    torch.testing.assert_close(extended(image), extended(given), atol=2e-2, rtol=0)  # stored in half precision
    with pytest.raises(ShapeError, match="image and features"):
        extended(given[:, :3])


def test_write_case_features_keeps_a_fitted_projection(stored):
    extended, cases, folder = stored
    before = extended.projection.weight0.clone()
    write_case_features(extended, cases, ["case_2"], folder / "again", folder / "cache", lambda _: None)
    assert torch.equal(extended.projection.weight0, before)
    with pytest.raises(DataError, match="splits_final"):
        write_case_features(network(), cases, [], folder / "none", folder / "cache", lambda _: None)


def test_extractor_is_excluded_from_state_dict(stored):
    extended = stored[0]
    assert {name.split(".")[0] for name in extended.state_dict()} == {"inner", "projection"}
    assert {name.split(".")[0] for name, _ in extended.named_parameters()} == {"inner"}


def test_image_with_features_clips_boxes_like_numpy():
    data = ImageWithFeatures(np.zeros((1, 4, 4, 4), np.float32), [torch.ones(2, 2, 2, 2)])
    assert data[:, 1:9].shape == (3, 3, 4, 4)


def prepared(folder: Path, cases: int = 6) -> None:
    """Write a raw nnU-Net dataset of hippocampi."""
    raw = folder / "raw" / "Dataset501_Hippocampus"
    for kind in ("imagesTr", "labelsTr"):
        (raw / kind).mkdir(parents=True)
    for image in sorted((HIPPOCAMPUS / "images").iterdir())[:cases]:
        name = image.name.removesuffix(".gz").removesuffix(".nii").removesuffix("_0000")
        nib.save(nib.load(image), raw / "imagesTr" / f"{name}_0000.nii.gz")
        label = next(path for path in (HIPPOCAMPUS / "labels").iterdir() if path.name.split(".")[0] == name)
        shutil.copy(label, raw / "labelsTr" / f"{name}.nii.gz")
    description = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "anterior": 1, "posterior": 2},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(description))


SHORT = """
from dimlift.integrations.nnunet.trainer import nnUNetTrainerDimlift
from dimlift.methods.frozen_features.settings import FeatureExtractionSettings

class nnUNetTrainerShort(nnUNetTrainerDimlift):
    features = FeatureExtractionSettings(stages=(1, 2), planes=("depth",), upsample=1.0)
    num_components = 4

    def __init__(self, plans, configuration, fold, dataset_json, device):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 1, 2, 1
"""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("nnunetv2") is None, reason="nnunetv2 is not installed")
@pytest.mark.skipif(not HIPPOCAMPUS.is_dir(), reason=f"no volumes in {HIPPOCAMPUS}")
def test_nnunet_trains_validates_and_predicts(tmp_path):
    prepared(tmp_path)
    package = Path(find_spec("nnunetv2").submodule_search_locations[0])
    site = tmp_path / "site"  # a copy, so that the installed one stays as it is
    shutil.copytree(package, site / "nnunetv2", ignore=shutil.ignore_patterns("__pycache__", "tests"))
    places = {f"nnUNet_{kind}": str(tmp_path / kind) for kind in ("raw", "preprocessed", "results")}
    environment = os.environ | {**places, "nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "1", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(site), str(ROOT / "src")])

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, *map(str, arguments)], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def entry(module, function, *arguments):
        ready = "from dimlift.backbones.torchvision_ops import ensure_torchvision_imports as e; e()"
        return run("-c", f"{ready}; from nnunetv2.{module} import {function} as go; go()", *arguments)

    assert "nnUNetTrainerDimlift.py" in run("-m", "dimlift.integrations.nnunet")
    variants = site / "nnunetv2" / "training" / "nnUNetTrainer" / "variants"
    (variants / "short.py").write_text(SHORT)
    planning = "experiment_planning.plan_and_preprocess_entrypoints"
    entry(planning, "plan_and_preprocess_entry", "-d", 501, "-c", "3d_fullres", "-np", 1, "-npfp", 1)
    plans_file = tmp_path / "preprocessed" / "Dataset501_Hippocampus" / "nnUNetPlans.json"
    plans = json.loads(plans_file.read_text())
    chosen = plans["configurations"]["3d_fullres"]
    chosen["batch_size"] = 2
    stages = len(chosen["architecture"]["arch_kwargs"]["features_per_stage"])
    chosen["architecture"]["arch_kwargs"]["features_per_stage"] = [4 * min(i + 1, 4) for i in range(stages)]
    plans_file.write_text(json.dumps(plans))

    environment["nnUNet_n_proc_DA"] = "0"  # in the process itself
    entry("run.run_training", "run_training_entry", 501, "3d_fullres", 0, "-tr", "nnUNetTrainerShort", "-device", "cpu")
    results = tmp_path / "results" / "Dataset501_Hippocampus" / "nnUNetTrainerShort__nnUNetPlans__3d_fullres" / "fold_0"
    assert (results / "checkpoint_final.pth").is_file()
    assert len(list((results / "frozen_features").glob("*.safetensors"))) == 6
    assert (results / "validation" / "summary.json").is_file()
    state = torch.load(results / "checkpoint_final.pth", weights_only=False)["network_weights"]
    assert bool(state["projection.fitted"])
    assert not any("extractor" in name for name in state)
    log = next(results.glob("training_log_*.txt")).read_text()
    assert "dimlift: features of 6 cases" in log

    inputs = tmp_path / "inputs"
    inputs.mkdir()
    first = sorted((tmp_path / "raw" / "Dataset501_Hippocampus" / "imagesTr").iterdir())[0]
    shutil.copy(first, inputs)
    options = ("-i", inputs, "-o", tmp_path / "predictions", "-d", 501, "-c", "3d_fullres", "-f", 0, "-tr")
    predict = (*options, "nnUNetTrainerShort", "-device", "cpu", "-npp", 1, "-nps", 1, "--disable_tta")
    entry("inference.predict_from_raw_data", "predict_entry_point", *predict)
    (prediction,) = (tmp_path / "predictions").glob("*.nii.gz")
    assert nib.load(prediction).shape == nib.load(first).shape
