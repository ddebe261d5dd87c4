"""A tiny data set on disk."""

import json

import pytest
from command_line import head, write_image


@pytest.fixture
def dataset(tmp_path):
    """A function that writes a data set of `cases` cases in nnU-Net's raw layout."""

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
