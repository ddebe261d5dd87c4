"""An identity prediction restores voxels and affine of the input for all axis orders."""

from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_files import save

from dimlift.data.orientation import Reorientation, axis_order, canonical_spacing, choose_slice_axis
from dimlift.data.preprocessing.intensity import IntensityNormalisation
from dimlift.data.preprocessing.preprocessing import Preprocessing
from dimlift.errors import DataError

SIZES = (4, 5, 6)
SPACINGS = (0.7, 1.1, 3.3)
AXIS_CODES = [
    "".join(pair[sense] for pair, sense in zip(order, senses, strict=True))
    for order in permutations(["LR", "PA", "IS"])
    for senses in product((0, 1), repeat=3)
]


def affine_for(codes: str, tilt: float = 0.0) -> np.ndarray:
    """An affine whose axes run along `codes`, tilted by an angle about an odd axis."""
    turn = nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt(codes), SIZES)
    direction = np.linalg.inv(turn)[:3, :3]
    axis = np.array([1.0, 2.0, 3.0]) / np.sqrt(14)
    cross = np.cross(np.eye(3), axis)
    rotation = np.eye(3) + np.sin(tilt) * cross + (1 - np.cos(tilt)) * cross @ cross
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.sign(np.round(direction)) @ np.diag(SPACINGS)
    affine[:3, 3] = [-30.5, 12.25, 7.0]
    return affine


def make_preprocessing(**changes) -> Preprocessing:
    fields = {
        "channels": ("T1",),
        "labels": {str(value): value for value in range(1, 120)},
        "ignore": None,
        "spacing": None,
        "typical_spacing": (1.0, 1.0, 1.0),
        "slice_axis": "z",
        "normalisation": (IntensityNormalisation("none"),),
    }
    return Preprocessing(**{**fields, **changes})


def test_axis_codes_are_complete():
    assert len(set(AXIS_CODES)) == 48


@pytest.mark.parametrize("slice_axis", ["z", "y", "x"])
@pytest.mark.parametrize("codes", AXIS_CODES)
def test_identity_prediction_restores_voxels_and_affine(tmp_path: Path, codes: str, slice_axis: str):
    affine = affine_for(codes)
    assert "".join(nib.aff2axcodes(affine)) == codes
    values = np.arange(120, dtype=np.uint8).reshape(SIZES)
    path = save(tmp_path / "in.nii", values, affine)
    preprocessing = make_preprocessing(slice_axis=slice_axis)
    sample = preprocessing.read_image([path])
    preprocessing.write(tmp_path / "out.nii", sample.image[0].astype(np.int64), sample.geometry)
    before, after = nib.load(path), nib.load(tmp_path / "out.nii")
    assert np.array_equal(np.asarray(after.dataobj), values)
    assert np.array_equal(after.affine, before.affine)


@settings(max_examples=60, deadline=None)
@given(codes=st.sampled_from(AXIS_CODES), tilt=st.floats(-0.6, 0.6), slice_axis=st.sampled_from(["z", "y", "x"]))
def test_identity_prediction_restores_oblique_volumes(tmp_path_factory, codes: str, tilt: float, slice_axis: str):
    folder = tmp_path_factory.mktemp("oblique")
    values = np.arange(120, dtype=np.uint8).reshape(SIZES)
    path = save(folder / "in.nii", values, affine_for(codes, tilt))
    preprocessing = make_preprocessing(slice_axis=slice_axis)
    sample = preprocessing.read_image([path])
    preprocessing.write(folder / "out.nii", sample.image[0].astype(np.int64), sample.geometry)
    after = nib.load(folder / "out.nii")
    assert np.array_equal(np.asarray(after.dataobj), values)
    assert np.array_equal(after.affine, nib.load(path).affine)


@pytest.mark.parametrize("slice_axis", ["z", "y", "x"])
@pytest.mark.parametrize("codes", AXIS_CODES)
def test_reorientation_directions(codes: str, slice_axis: str):
    """Of an image of world coordinates, only the coordinate of an axis changes along it."""
    affine = affine_for(codes)
    index = np.indices(SIZES).reshape(3, -1)
    world = (affine[:3, :3] @ index + affine[:3, 3:]).reshape(3, *SIZES)
    reorientation = Reorientation.from_affine(affine, slice_axis)
    x, y, z = (reorientation.forward(coordinate) for coordinate in world)
    by_name = {"z": z, "y": y, "x": x}
    spacing = canonical_spacing(affine, slice_axis)
    for position, name in enumerate(axis_order(slice_axis)):
        for other, coordinate in by_name.items():
            step = np.diff(coordinate, axis=position)
            assert np.allclose(step, spacing[position] if other == name else 0, atol=1e-5)
    assert axis_order(slice_axis)[0] == slice_axis


def test_choose_slice_axis():
    assert choose_slice_axis([(1.0, 1.0, 1.0)]) == "z"
    assert choose_slice_axis([(0.8, 5.0, 0.8), (0.8, 4.0, 0.8), (3.0, 0.8, 0.8)]) == "y"
    assert choose_slice_axis([(1.0, 1.0, 1.25)]) == "z"
    assert choose_slice_axis([(1.0, 1.0, 1.35)]) == "x"


@settings(max_examples=40, deadline=None)
@given(
    codes=st.sampled_from(AXIS_CODES),
    spacing=st.tuples(*[st.floats(0.4, 6.0)] * 3),
    slice_axis=st.sampled_from(["z", "y", "x"]),
)
def test_restore_keeps_shape_and_values_after_resampling(tmp_path_factory, codes, spacing, slice_axis):
    values = np.random.default_rng(0).integers(0, 4, size=SIZES).astype(np.uint8) * 5
    path = save(tmp_path_factory.mktemp("spacing") / "in.nii", values, affine_for(codes))
    preprocessing = make_preprocessing(spacing=spacing, slice_axis=slice_axis, labels={"a": 5, "b": 10, "c": 15})
    sample = preprocessing.read_image([path])
    labels = np.random.default_rng(1).integers(0, 4, size=sample.image.shape[1:])
    restored = preprocessing.restore(labels, sample.geometry)
    assert restored.shape == SIZES
    assert set(np.unique(restored)) <= {0, 5, 10, 15}


def test_restore_rejects_other_shape(tmp_path: Path):
    preprocessing = make_preprocessing()
    sample = preprocessing.read_image([save(tmp_path / "in.nii", np.zeros(SIZES, np.uint8))])
    with pytest.raises(DataError, match=r"shape \(1, 2, 3\), but the sample has"):
        preprocessing.restore(np.zeros((1, 2, 3), int), sample.geometry)
