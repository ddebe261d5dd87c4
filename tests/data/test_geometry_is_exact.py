"""Predicting with the identity gives back the voxels and the affine of the input, whatever its axes."""

from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_files import save

from dimlift.data.orientation import Turn, axes_of, canonical_spacing, choose_through_plane
from dimlift.data.preprocessing.intensity import Normalisation
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
        "through_plane": "z",
        "normalisation": (Normalisation("none"),),
    }
    return Preprocessing(**{**fields, **changes})


def test_there_are_48_axis_codes():
    assert len(set(AXIS_CODES)) == 48


@pytest.mark.parametrize("through_plane", ["z", "y", "x"])
@pytest.mark.parametrize("codes", AXIS_CODES)
def test_identity_gives_back_voxels_and_affine(tmp_path: Path, codes: str, through_plane: str):
    affine = affine_for(codes)
    assert "".join(nib.aff2axcodes(affine)) == codes
    values = np.arange(120, dtype=np.uint8).reshape(SIZES)
    path = save(tmp_path / "in.nii", values, affine)
    preprocessing = make_preprocessing(through_plane=through_plane)
    sample = preprocessing.read_image([path])
    preprocessing.write(tmp_path / "out.nii", sample.image[0].astype(np.int64), sample.geometry)
    before, after = nib.load(path), nib.load(tmp_path / "out.nii")
    assert np.array_equal(np.asarray(after.dataobj), values)
    assert np.array_equal(after.affine, before.affine)


@settings(max_examples=60, deadline=None)
@given(codes=st.sampled_from(AXIS_CODES), tilt=st.floats(-0.6, 0.6), through_plane=st.sampled_from(["z", "y", "x"]))
def test_identity_on_oblique_volumes(tmp_path_factory, codes: str, tilt: float, through_plane: str):
    folder = tmp_path_factory.mktemp("oblique")
    values = np.arange(120, dtype=np.uint8).reshape(SIZES)
    path = save(folder / "in.nii", values, affine_for(codes, tilt))
    preprocessing = make_preprocessing(through_plane=through_plane)
    sample = preprocessing.read_image([path])
    preprocessing.write(folder / "out.nii", sample.image[0].astype(np.int64), sample.geometry)
    after = nib.load(folder / "out.nii")
    assert np.array_equal(np.asarray(after.dataobj), values)
    assert np.array_equal(after.affine, nib.load(path).affine)


@pytest.mark.parametrize("through_plane", ["z", "y", "x"])
@pytest.mark.parametrize("codes", AXIS_CODES)
def test_canonical_axes_run_to_superior_anterior_and_right(codes: str, through_plane: str):
    """An image of its own world coordinates: along each canonical axis, only the coordinate it is named after grows."""
    affine = affine_for(codes)
    index = np.indices(SIZES).reshape(3, -1)
    world = (affine[:3, :3] @ index + affine[:3, 3:]).reshape(3, *SIZES)
    turn = Turn.of(affine, through_plane)
    x, y, z = (turn.forward(coordinate) for coordinate in world)
    by_name = {"z": z, "y": y, "x": x}
    spacing = canonical_spacing(affine, through_plane)
    for position, name in enumerate(axes_of(through_plane)):
        for other, coordinate in by_name.items():
            step = np.diff(coordinate, axis=position)
            assert np.allclose(step, spacing[position] if other == name else 0, atol=1e-5)
    assert axes_of(through_plane)[0] == through_plane


def test_the_through_plane_axis_is_the_one_that_stands_out():
    assert choose_through_plane([(1.0, 1.0, 1.0)]) == "z"
    assert choose_through_plane([(0.8, 5.0, 0.8), (0.8, 4.0, 0.8), (3.0, 0.8, 0.8)]) == "y"
    assert choose_through_plane([(1.0, 1.0, 1.25)]) == "z"
    assert choose_through_plane([(1.0, 1.0, 1.35)]) == "x"


@settings(max_examples=40, deadline=None)
@given(
    codes=st.sampled_from(AXIS_CODES),
    spacing=st.tuples(*[st.floats(0.4, 6.0)] * 3),
    through_plane=st.sampled_from(["z", "y", "x"]),
)
def test_resampled_answers_come_back_in_the_exact_shape_with_known_values(
    tmp_path_factory, codes, spacing, through_plane
):
    values = np.random.default_rng(0).integers(0, 4, size=SIZES).astype(np.uint8) * 5
    path = save(tmp_path_factory.mktemp("spacing") / "in.nii", values, affine_for(codes))
    preprocessing = make_preprocessing(spacing=spacing, through_plane=through_plane, labels={"a": 5, "b": 10, "c": 15})
    sample = preprocessing.read_image([path])
    answer = np.random.default_rng(1).integers(0, 4, size=sample.image.shape[1:])
    restored = preprocessing.restore(answer, sample.geometry)
    assert restored.shape == SIZES
    assert set(np.unique(restored)) <= {0, 5, 10, 15}


def test_a_label_map_of_another_shape_is_refused(tmp_path: Path):
    preprocessing = make_preprocessing()
    sample = preprocessing.read_image([save(tmp_path / "in.nii", np.zeros(SIZES, np.uint8))])
    with pytest.raises(DataError, match=r"shape \(1, 2, 3\), but the sample has"):
        preprocessing.restore(np.zeros((1, 2, 3), int), sample.geometry)
