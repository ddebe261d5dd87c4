"""Scores of label maps that any program wrote."""

import nibabel as nib
import numpy as np
import pytest

from dimlift.errors import DataError, GeometryMismatchError
from dimlift.evaluation.compare_label_maps import class_means, compare_label_maps
from dimlift.records.record import Score


def write(path, array, spacing=(1.0, 2.0, 3.0), flip=False):
    path.parent.mkdir(exist_ok=True)
    affine = np.diag([*spacing, 1.0])
    array = np.asarray(array, np.uint8)
    if flip:  # the same voxels in another order
        array, affine = array[::-1], affine @ np.array([[-1, 0, 0, len(array) - 1], *np.eye(4)[1:]])
    nib.save(nib.Nifti1Image(array, affine), path)


def box(*corner, size=3, value=1):
    array = np.zeros((10, 9, 8), np.uint8)
    array[tuple(slice(c, c + size) for c in corner)] = value
    return array


@pytest.fixture
def folders(tmp_path):
    for name, corner in (("a", (1, 1, 1)), ("b.1", (3, 2, 4))):
        write(tmp_path / "truth" / f"{name}.nii.gz", box(*corner))
    write(tmp_path / "truth" / "unpredicted.nii.gz", box(0, 0, 0))
    write(tmp_path / "found" / "a.nii.gz", box(1, 1, 1))
    write(tmp_path / "found" / "b.1.nii.gz", box(4, 2, 4), flip=True)
    return tmp_path / "found", tmp_path / "truth"


def by_metric(scores):
    return {(score.case, score.metric): score.value for score in scores}


def test_scores_are_those_of_the_masks_in_millimetres_and_in_any_axis_order(folders):
    scores = by_metric(compare_label_maps(*folders))
    assert {case for case, _ in scores} == {"a", "b.1"}
    assert scores["a", "dice"] == 1
    assert scores["b.1", "dice"] == pytest.approx(2 / 3)  # 18 of 27 voxels overlap
    assert scores["b.1", "hd95_mm"] == pytest.approx(1.0)  # one voxel along the first axis
    assert ("a", "false_lesions") not in scores
    assert by_metric(compare_label_maps(*folders, lesions=True))["a", "false_lesions"] == 0


def test_two_files_are_a_pair_under_any_names(folders):
    found, truth = folders
    (score, *_) = compare_label_maps(found / "a.nii.gz", truth / "b.1.nii.gz", labels={"organ": 1})
    assert (score.class_, score.metric) == ("organ", "dice")


def test_missing_references_unknown_values_and_other_grids_are_refused_by_name(folders):
    found, truth = folders
    write(found / "c.nii.gz", box(0, 0, 0))
    with pytest.raises(DataError, match=r"truth has no file called c; .* have the same name"):
        compare_label_maps(found, truth)
    (found / "c.nii.gz").unlink()
    write(found / "a.nii.gz", box(1, 1, 1, value=3))
    with pytest.raises(DataError, match=r"a\.nii\.gz holds the value 3, which is not among the labels \(1=1\)"):
        compare_label_maps(found, truth)
    write(found / "a.nii.gz", box(1, 1, 1), spacing=(1.0, 2.0, 4.0))
    with pytest.raises(GeometryMismatchError, match=r"a\.nii\.gz"):
        compare_label_maps(found, truth)
    with pytest.raises(DataError, match="does not exist"):
        compare_label_maps(found / "nowhere", truth)


def test_ignored_voxels_are_not_scored(tmp_path):
    truth = box(1, 1, 1)
    truth[4:] = 9
    write(tmp_path / "truth" / "a.nii.gz", truth)
    predicted = box(1, 1, 1)
    predicted[4:] = 1
    write(tmp_path / "found" / "a.nii.gz", predicted)
    assert by_metric(compare_label_maps(tmp_path / "found", tmp_path / "truth", ignore=9))["a", "dice"] == 1


def test_means_are_over_cases_and_leave_out_undefined_scores():
    scores = [
        Score("a", "one", "dice", 0.4),
        Score("b", "one", "dice", 0.8),
        Score("a", "two", "dice", None),
        Score("b", "two", "dice", 0.2),
    ]
    means = {mean.class_: mean for mean in class_means(scores)}
    assert means["one"].mean == pytest.approx(0.6)
    assert means["one"].interval[0] <= 0.6 <= means["one"].interval[1]
    assert (means["two"].mean, means["two"].cases, means["two"].interval) == (pytest.approx(0.2), 1, None)
    assert means["mean"].mean == pytest.approx((0.4 + 0.5) / 2)
