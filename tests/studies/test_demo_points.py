"""The demo on clouds: shapes that differ, a page that needs nothing from outside."""

import json

import numpy as np
import pytest

from dimlift.data.datasets.point_cloud_set import open_clouds
from dimlift.data.synthetic.shapes import CLASSES, simulate_shapes
from dimlift.errors import DataError, RunError
from dimlift.report.point_page import write_clouds_page
from dimlift.studies.demo_points import demo_points


def test_shapes_are_the_same_every_time_and_every_piece_its_own(tmp_path):
    one, other = (open_clouds(simulate_shapes(tmp_path / name, 4, 64)) for name in ("a.npz", "b.npz"))
    assert one.classes == CLASSES
    assert len(one) == 4 * len(CLASSES)
    assert one.digests() == other.digests()
    assert len(set(one.digests())) == len(one)
    with pytest.raises(DataError, match="4 are the least"):
        simulate_shapes(tmp_path / "c.npz", 3)


def test_a_lamp_is_taller_than_it_is_wide_and_a_bed_is_not(tmp_path):
    clouds = open_clouds(simulate_shapes(tmp_path / "set.npz", 4))
    for cloud, label in zip(clouds.clouds, clouds.labels, strict=True):
        wide, tall, _ = np.ptp(cloud, axis=0)
        if clouds.classes[label] in ("lamp", "bed"):
            assert (tall > wide) == (clouds.classes[label] == "lamp")


def test_the_demo_leaves_accuracies_and_a_page(tmp_path):
    out = demo_points(tmp_path / "demo", steps=1)
    rows = json.loads((out / "points.json").read_text())["rows"]
    assert [row["steps"] for row in rows] == [0, 1, 1]
    assert all(0 <= row["accuracy"] <= 1 for row in rows)
    page = write_clouds_page(out).read_text()
    assert "random weights" in page
    assert "data:image/png" in page
    assert "http" not in page
    with pytest.raises(RunError, match="choose another folder"):
        demo_points(out)
