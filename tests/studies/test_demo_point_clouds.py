"""The demo on point clouds: simulated shapes, and a study with a report."""

import numpy as np
import pytest

from dimlift.data.datasets.point_cloud_set import load_point_cloud_set
from dimlift.data.synthetic.shapes import SHAPE_CLASSES, simulate_shapes
from dimlift.errors import DataError, RunError
from dimlift.evaluation.probe import probe_weights
from dimlift.report.page import write_report
from dimlift.studies.demo_point_clouds import NUM_POINTS, REPEATS, TEST_FRACTION, demo_point_clouds


def test_simulate_shapes_is_reproducible_and_has_no_duplicates(tmp_path):
    one, other = (load_point_cloud_set(simulate_shapes(tmp_path / name, 4, 64)) for name in ("a.npz", "b.npz"))
    assert one.classes == SHAPE_CLASSES
    assert len(one) == 4 * len(SHAPE_CLASSES)
    assert one.point_hashes() == other.point_hashes()
    assert len(set(one.point_hashes())) == len(one)
    with pytest.raises(DataError, match="4"):
        simulate_shapes(tmp_path / "c.npz", 3)


def test_simulate_shapes_lamps_are_tall_and_beds_are_wide(tmp_path):
    shapes = load_point_cloud_set(simulate_shapes(tmp_path / "set.npz", 4))
    for points, label in zip(shapes.point_clouds, shapes.labels, strict=True):
        wide, tall, _ = np.ptp(points, axis=0)
        if shapes.classes[label] in ("lamp", "bed"):
            assert (tall > wide) == (shapes.classes[label] == "lamp")


def test_demo_point_clouds_writes_a_study_and_its_report(tmp_path):
    out = tmp_path / "demo"
    records = demo_point_clouds(out, steps=1)
    assert [(record.arm, record.steps) for record in records[::REPEATS]] == [
        ("random", 0), ("point_mae", 1), ("crosspoint", 1),
    ]  # fmt: skip
    assert all(len(record.scores) == 30 for record in records)
    page = write_report(out).read_text()
    assert "random weights" in page
    assert "CrossPoint" in page
    assert 'src="http' not in page
    with pytest.raises(RunError, match="choose another folder"):
        demo_point_clouds(out)


def test_demo_point_clouds_measures_what_probe_weights_does(tmp_path):
    out = tmp_path / "demo"
    records = demo_point_clouds(out, steps=1)
    shapes = load_point_cloud_set(out / "shapes.npz")
    found = probe_weights(
        out / "point_mae" / "weights", shapes, repeats=REPEATS, num_points=NUM_POINTS, test_fraction=TEST_FRACTION
    )
    means = {
        arm: [np.mean([s.value for s in r.scores]) for r in records if r.arm == arm] for arm in ("random", "point_mae")
    }
    assert means["point_mae"] == pytest.approx(found.values)
    assert means["random"] == pytest.approx(found.control)
