"""What training held: ordinary cases lie inside its range, and cases of another kind do not."""

import json
import warnings
from dataclasses import asdict, replace

import nibabel as nib
import numpy as np
import pytest

from dimlift.config.method_config import TaskSpec
from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.preprocessing.input_facts import class_volumes
from dimlift.data.preprocessing.intensity import IntensityNormalisation
from dimlift.data.preprocessing.preprocessing import Preprocessing
from dimlift.data.preprocessing.training_range import InputFacts, TrainingRange
from dimlift.data.synthetic.heads import simulate_heads
from dimlift.errors import DataError, RunError
from dimlift.inference.departures import OutsideTrainingRangeWarning
from dimlift.inference.predictor import Predictor
from dimlift.methods.registry import METHODS


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Facts of 40 simulated heads."""
    folder = simulate_heads(tmp_path_factory.mktemp("heads") / "subjects", 40, size=(20, 24, 20))
    dataset = open_dataset(folder)
    preprocessing = Preprocessing.fit(dataset, dataset.cases)
    return [preprocessing.read(case).facts for case in dataset.cases]


@pytest.mark.parametrize("count", [2, 4, 8, 20])
def test_at_most_two_in_a_hundred_ordinary_cases_are_flagged(heads, count):
    rng, flagged, total = np.random.default_rng(0), 0, 0
    for _ in range(25):
        order = rng.permutation(len(heads))
        held = TrainingRange.of([heads[index] for index in order[:count]])
        for facts in (heads[index] for index in order[count:]):
            flagged += bool(held.departures(facts) or held.foreground_departures(facts.foreground_ml))
            total += 1
    assert flagged <= 0.02 * total


def changed(facts, **factors):
    """Multiply the amounts whose name begins with a word."""
    amounts = {name: value * factors.get(name.split()[0], 1) for name, value in facts.amounts.items()}
    return replace(facts, amounts=amounts)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda facts: changed(facts, spacing=5), "spacing along depth in mm is"),
        (lambda facts: changed(facts, spacing=0.2), "spacing along width in mm is"),
        (lambda facts: changed(facts, extent=0.25), "extent along height in mm is"),
        (lambda facts: replace(facts, orientation="PIL"), "axes are stored as PIL, in training as"),
        (lambda facts: replace(facts, intensities={"T1": (-1000.0, 3000.0)}), "0.5th percentile of T1 is -1000"),
        (
            lambda facts: replace(facts, intensities={n: (a * 20, b * 20) for n, (a, b) in facts.intensities.items()}),
            "99.5th percentile",
        ),
    ],
)
def test_a_case_of_another_kind_is_flagged(heads, change, said):
    held, facts = TrainingRange.of(heads[:20]), heads[30]
    assert held.departures(facts) == []
    assert said in " ".join(held.departures(change(facts)))


def test_foreground_of_another_size_is_flagged():
    held = TrainingRange.of([InputFacts(foreground_ml={"liver": volume}) for volume in (1000.0, 1500.0, 2000.0)] * 10)
    assert held.foreground_departures({"liver": 1700.0}) == []
    for volume in (0.0, 100.0, 20_000.0):
        (sentence,) = held.foreground_departures({"liver": volume})
        assert "predicted volume of liver in ml" in sentence
    assert held.foreground_departures({"another": 1.0}) == []


def test_lacking_column_is_flagged():
    held = TrainingRange.of([InputFacts(columns=("colours", "intensity")), InputFacts(columns=("intensity",))])
    assert held.departures(InputFacts(columns=("intensity",))) == []
    assert "columns intensity are missing" in held.departures(InputFacts())[0]


def test_range_of_several_runs_holds_the_cases_of_each(heads):
    one, other = TrainingRange.of(heads[:10]), TrainingRange.of(heads[10:20])
    both, union = TrainingRange.of(heads[:20]), TrainingRange.union([one, other])
    assert union == replace(both, cases=10)
    assert TrainingRange.union([one]) == one


def test_range_and_facts_survive_json(heads):
    held = TrainingRange.of(heads)
    assert TrainingRange.from_json(json.loads(json.dumps(held.to_json()))) == held
    assert InputFacts.from_json(json.loads(json.dumps(asdict(heads[0])))) == heads[0]


def test_class_volumes_are_voxels_times_their_size():
    labels = np.zeros((5, 6, 7), np.int16)
    labels[0], labels[1, 0], labels[2] = 1, 2, -1
    found = class_volumes(labels, {"a": 1, "b": 2, "c": 3}, (10.0, 5.0, 2.0))
    assert found == pytest.approx({"a": 42 * 0.1, "b": 7 * 0.1, "c": 0.0})


@pytest.fixture
def predictor():
    """A network with the range of ten arrays of noise, whose predicted volumes are never unusual."""
    arm, task = METHODS["unet"](widths=(4, 8), residual_units=0), TaskSpec("segmentation", 1, 2, None, (8, 8, 8))
    preprocessing = Preprocessing(
        ("T1",), {"tumour": 7}, None, None, (1.0, 1.0, 1.0), "z", (IntensityNormalisation("none"),)
    )
    found = Predictor(arm, task, preprocessing, arm.build(task))
    facts = []
    for seed in range(10):
        content = found.modality.from_array(noise(seed), (3.0, 1.0, 1.0))
        facts.append(preprocessing.read_image([content.path], lambda path, content=content: content).facts)
    found.training_range = replace(TrainingRange.of(facts), orientations=("LPS",))
    return found


def noise(seed, scale=1.0):
    return scale * np.random.default_rng(seed).normal(size=(8, 9, 10)).astype(np.float32)


def test_predictor_warns_of_an_unusual_array_or_file(predictor, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predictor.predict(noise(20), spacing=(3.0, 1.0, 1.0))
        predictor.predict(noise(20))  # nothing is known about its millimetres
        predictor.predict_proba(noise(20))
    with pytest.warns(OutsideTrainingRangeWarning, match=r"array: lies outside .* percentile of T1 is"):
        predictor.predict(noise(20, scale=50))
    with pytest.warns(OutsideTrainingRangeWarning, match="spacing along depth in mm is 30; training held 3"):
        predictor.predict_proba(noise(20), spacing=(30.0, 1.0, 1.0))
    nib.save(nib.Nifti1Image(noise(20).transpose(), np.diag([1.0, 1.0, 3.0, 1.0])), tmp_path / "a.nii.gz")
    with pytest.warns(OutsideTrainingRangeWarning, match=r"a\.nii\.gz: .*axes are stored as RAS, in training as LPS"):
        predictor.predict(tmp_path / "a.nii.gz")


def test_predictor_warns_of_unusual_foreground(predictor):
    predictor.training_range = replace(predictor.training_range, foreground_ml={"tumour": (1000.0, 2000.0)})
    with pytest.warns(OutsideTrainingRangeWarning, match="predicted volume of tumour in ml"):
        predictor.predict(noise(20))


def test_strict_predictor_refuses(predictor, tmp_path):
    folder = predictor.save(tmp_path / "weights")
    strict = Predictor.from_pretrained(folder, strict=True)
    strict.predict(noise(20))
    with pytest.raises(DataError, match=r"array: lies outside what training held: .* percentile of T1"):
        strict.predict(noise(20, scale=50))
    strict.training_range = replace(strict.training_range, foreground_ml={"tumour": (1000.0, 2000.0)})
    with pytest.raises(DataError, match="predicted volume of tumour"):
        strict.predict(noise(20))
    strict.training_range = None
    with pytest.raises(RunError, match="states no training_range"):
        strict.predict(noise(20))
    assert Predictor.load(folder).strict is False
