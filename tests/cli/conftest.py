"""A small dataset on disk, and a run on one."""

import json

import pytest
from command_line import QUICK, head, run_cli, write_image


@pytest.fixture
def dataset(tmp_path):
    """Return a function that writes a dataset of `cases` cases in nnU-Net's raw layout."""

    def write(cases=5, labels=None, folder="blocks"):
        root = tmp_path / folder
        for case in range(cases):
            image, label = head(case)
            write_image(root / "imagesTr" / f"case{case}_0000.nii.gz", image)
            write_image(root / "labelsTr" / f"case{case}.nii.gz", label)
        labels = labels or {"background": 0, "bright": 1, "dim": 2}
        card = {"channel_names": {"0": "MRI"}, "labels": labels, "numTraining": cases, "file_ending": ".nii.gz"}
        (root / "dataset.json").write_text(json.dumps(card))
        return root

    return write


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """The folder of a run of two steps, with its dataset next to it; read-only."""
    root = tmp_path_factory.mktemp("trained")
    for case in range(5):
        image, label = head(case)
        write_image(root / "data" / "images" / f"case{case}.nii.gz", image)
        write_image(root / "data" / "labels" / f"case{case}.nii.gz", label)
    result = run_cli("train", root / "data", *QUICK, "--out", root / "run")
    assert result.code == 0, result.out + result.err
    return root / "run"
