"""Every single changed value of a record and of study.json: a report, or an error that names the file."""

import json
import time
from itertools import islice

import pytest

from dimlift.errors import DimliftError
from dimlift.records.record import RunRecord, Score
from dimlift.records.study import CasePaths, Study, StudyArm, StudyDataset
from dimlift.report.page import write_report
from json_mutations import mutated

STAGE = {"stride": [1, 4, 4], "channels": 8, "kernels": [3], "reach": 3, "attention": "per_slice"}
CERTIFICATE = {
    "holds": True,
    "stages": [STAGE],
    "spacing": [2.0, 1.0, 1.0],
    "layers": [{"name": "conv1", "description": "kernel over 3 slices"}],
    "weights": {"inflated": {"conv1.weight": [[8, 3, 3, 3], [8, 1, 3, 3, 3]]}, "copied": ["bn.weight"]},
    "claims": [{"law": "slices", "claimed": True, "holds": True, "error": 1e-7, "tolerance": 1e-4}],
}
PROVENANCE = {
    "name": "timm:resnet18", "weights": "a.pth", "sha256": "00", "licence": None, "gated": None, "filled": 1,
    "tensors": 2, "naming": "", "prefix": "model.", "resized": {"pos": [[1, 2], [1, 3]]}, "dropped": ["head"],
}  # fmt: skip


@pytest.fixture
def study(tmp_path):
    """A study of two arms and one test case."""
    Study(
        "t", "segmentation", "unet",
        {"unet": StudyArm("U-Net", "Plain.", None, 7), "lifted": StudyArm("L", "", CERTIFICATE, 8, PROVENANCE)},
        2, ["Simulated."], StudyDataset("heads", 3, {"grey": 1}), {"steps": 2},
        {"s1": CasePaths("images/s1.nii.gz", "labels/s1.nii.gz", "p1")}, [1.0], [],
    ).save(tmp_path)  # fmt: skip
    for number, arm in enumerate(("unet", "lifted")):
        RunRecord(
            f"{number:064x}", arm, 0, 0, 2, 1.5, 1000, {"torch": "2"}, "finished",
            [{"step": 2, "seconds": 1.5, "loss": 0.5, "dice": 0.25}],
            [Score("s1", "grey", "dice", 0.5 + number / 4), Score("s1", "grey", "hd95_mm", None)],
            {"training_cases": ["a", "b"], "notes": ["n"], "cpu_seconds": 1.0, "gpu_bytes": 5, "joules": 2.0}, 1.0,
        ).save(tmp_path / "records")  # fmt: skip
    return tmp_path


@pytest.mark.parametrize("name", ["study.json", f"records/{1:064x}.json"])
@pytest.mark.parametrize("every", [97, pytest.param(1, marks=pytest.mark.slow)])
def test_report_of_changed_file_is_written_or_the_file_is_named(study, name, every):
    write_report(study)
    path, wrong, count, slowest = study / name, [], 0, 0.0
    for what, content in islice(mutated(json.loads(path.read_text())), 0, None, every):
        path.write_text(json.dumps(content))
        begun = time.perf_counter()
        count += 1
        try:
            write_report(study)
        except DimliftError as error:
            if path.name not in str(error):
                wrong.append(f"{what}: no file in {error}")
        except Exception as error:  # the test is that there is none
            wrong.append(f"{what}: {type(error).__name__} {error}"[:200])
        slowest = max(slowest, time.perf_counter() - begun)
    assert not wrong, wrong
    assert count * every > 400
    assert slowest < 5
