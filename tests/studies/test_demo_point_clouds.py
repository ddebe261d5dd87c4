"""The demo on point clouds: simulated shapes, and a study with a report."""

import numpy as np
import pytest

from dimlift.data.datasets.point_cloud_set import load_point_cloud_set
from dimlift.data.synthetic.shapes import SHAPE_CLASSES, simulate_shapes
from dimlift.errors import DataError, RunError
from dimlift.report.page import write_report
from dimlift.studies.demo_point_clouds import demo_point_clouds


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
    records = demo_point_clouds(out, quick=True, steps=1)
    assert [(record.arm, record.status) for record in records] == [
        ("scratch", "finished"),
        ("point_mae", "finished"),
        ("crosspoint", "finished"),
    ]
    page = write_report(out).read_text()
    assert "after Point-MAE" in page
    assert "http://" not in page
    with pytest.raises(RunError, match="choose another folder"):
        demo_point_clouds(out)
