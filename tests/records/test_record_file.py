"""Records: what is written comes back, None included; no half files; wrong files are named."""

import json
import math

import pytest

from dimlift.errors import DataError
from dimlift.records.record import Record, Score, load_records, write_json, write_text


def record(cell="c1", **changes):
    fields = dict(cell=cell, arm="unet", fraction=1.0, fold=0, seed=0, steps=9, seconds=1.5, peak_bytes=10)
    return Record(**fields, versions={"dimlift": "0"}, status="finished", **changes)


def test_round_trip_keeps_undefined_scores(tmp_path):
    one = record(scores=[Score("a", "liver", "dice", 0.5), Score("a", "tumour", "dice", None)], history=[{"step": 1.0}])
    path = one.save(tmp_path)
    assert Record.load(path) == one
    assert json.loads(path.read_text())["scores"][0] == {"case": "a", "class": "liver", "metric": "dice", "value": 0.5}


def test_records_come_in_the_order_of_their_names_and_scratch_files_are_none(tmp_path):
    for cell in "bca":
        record(cell).save(tmp_path)
    (tmp_path / ".d.json.77.part").write_text("{")
    assert [one.cell for one in load_records(tmp_path)] == ["a", "b", "c"]


def test_a_number_json_does_not_know_leaves_the_old_file_alone(tmp_path):
    path = write_json(tmp_path / "x.json", {"a": 1})
    with pytest.raises(ValueError):
        write_json(path, {"a": math.nan})
    with pytest.raises(UnicodeEncodeError):  # fails half way
        write_text(path, "a\ud800")
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 1}', '{"schema": 2, "scores": []}'])
def test_a_wrong_file_is_named(tmp_path, text):
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"c\.json"):
        Record.load(path)
