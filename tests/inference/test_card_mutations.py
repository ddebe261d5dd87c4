"""Every single changed value of a weights card: the same predictions, or an error that names the file."""

import json
import resource
import shutil
import time
from dataclasses import fields
from itertools import islice

import numpy as np
import pytest

from dimlift.config.method_config import TaskSpec
from dimlift.data.preprocessing.intensity import IntensityNormalisation
from dimlift.data.preprocessing.point_clouds import PointCloudPreprocessing
from dimlift.data.preprocessing.preprocessing import Preprocessing
from dimlift.errors import DataError, DimliftError
from dimlift.inference.predictor import Predictor
from dimlift.methods.registry import METHODS
from dimlift.records.card_schema import BuiltForCard, PointCloudPreprocessingCard, VolumePreprocessingCard
from dimlift.records.weights import read_card
from json_mutations import mutated


def volumes():
    spacing, arm = (2.0, 1.0, 1.0), METHODS["unet"](widths=(4, 8), residual_units=0)
    task = TaskSpec("segmentation", 1, 3, spacing, (8, 8, 8), class_weights=(1.0, 2.0, 3.0))
    rule = IntensityNormalisation("ct", -100.0, 300.0, 40.0, 20.0)
    preprocessing = Preprocessing(("CT",), {"a": 1, "b": 5}, 7, spacing, spacing, "z", (rule,), windows=(1,))
    array = np.random.default_rng(0).normal(40, 30, (9, 10, 11)).astype(np.float32)
    return Predictor(arm, task, preprocessing, arm.build(task)), array


def point_clouds():
    arm = METHODS["point_unet"](width_multiplier=0.125, voxel_size=0.5)
    task = TaskSpec("segmentation", 3, 2, None, (0, 0, 0))
    preprocessing = PointCloudPreprocessing({"floor": 0, "wall": 3}, num_points=32)
    return Predictor(arm, task, preprocessing, arm.build(task)), np.random.default_rng(0).normal(size=(40, 3))


@pytest.mark.parametrize(
    ("make", "every"),
    [
        (volumes, 4),
        (point_clouds, 5),
        pytest.param(volumes, 1, marks=pytest.mark.slow),
        pytest.param(point_clouds, 1, marks=pytest.mark.slow),
    ],
)
def test_changed_card_predicts_the_same_or_is_refused_by_name(make, every, tmp_path):
    predictor, array = make()
    folder = predictor.save(tmp_path / "weights")
    expected = Predictor.load(folder).predict(array)
    path = folder / "model.json"
    before, slowest, wrong, count = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0.0, [], 0
    original = json.loads(path.read_text())
    del original["settings_sha256"]  # it would refuse any change; the schema has to stand alone
    for name, card in islice(mutated(original), 0, None, every):
        path.write_text(json.dumps(card))
        begun = time.perf_counter()
        count += 1
        try:
            found = Predictor.load(folder).predict(array)
            if not np.array_equal(found, expected):
                wrong.append(f"{name}: other predictions")
        except DimliftError as error:
            if str(path) not in str(error) and str(folder) not in str(error):
                wrong.append(f"{name}: no file in {error}")
        except Exception as error:  # the test is that there is none
            wrong.append(f"{name}: {type(error).__name__} {error}"[:200])
        slowest = max(slowest, time.perf_counter() - begun)
    assert not wrong, wrong
    assert count * every > 800
    assert slowest < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 512 * 1024


def test_changed_settings_are_refused_although_they_are_valid(tmp_path):
    folder = volumes()[0].save(tmp_path / "weights")
    card = read_card(folder)
    for change in ({"overlap": 0.25}, {"labels": {"b": 5, "a": 1}}):
        other = {**card, **change}
        other["preprocessing"] = {**card["preprocessing"], "labels": other["labels"]}
        (folder / "model.json").write_text(json.dumps(other))
        with pytest.raises(DataError, match=r"model\.json was changed after training"):
            Predictor.load(folder)


def test_schema_knows_every_field_of_task_and_preprocessing():
    for section, kind in (
        (BuiltForCard, TaskSpec),
        (VolumePreprocessingCard, Preprocessing),
        (PointCloudPreprocessingCard, PointCloudPreprocessing),
    ):
        assert set(section.model_fields) - {"orientation"} == {field.name for field in fields(kind)}


def test_build_is_bounded_by_the_weights_file(tmp_path):
    folder = volumes()[0].save(tmp_path / "weights")
    for changes, said in (
        ({"widths": [4, 6 * 10**6]}, "in one tensor"),
        ({"widths": [4] * 5000}, "does not describe"),
        ({"residual_units": 10**9}, "does not describe"),
    ):
        card = json.loads((folder / "model.json").read_text())
        del card["settings_sha256"]
        card["arm"] |= changes
        other = tmp_path / "other"
        other.mkdir(exist_ok=True)
        shutil.copy(folder / "model.safetensors", other)
        (other / "model.json").write_text(json.dumps(card))
        with pytest.raises(DataError, match=said):
            Predictor.load(other)
