"""Run records: round trip, atomic writes, and errors for invalid files."""

import json
import math
from typing import Any

import pytest

from dimlift.errors import DataError
from dimlift.records.record import RunRecord, Score, load_records, write_json, write_text
from dimlift.records.train_size import TrainSize, sorted_sizes


def record(run_id="r1", **changes):
    fields: dict[str, Any] = dict(run_id=run_id, arm="unet", fold=0, seed=0, steps=9, seconds=1.5, peak_bytes=10)
    fields |= {"train_fraction": 1.0, "versions": {"dimlift": "0"}, "status": "finished"}
    return RunRecord(**{**fields, **changes})


def test_record_round_trip_keeps_undefined_scores(tmp_path):
    one = record(scores=[Score("a", "liver", "dice", 0.5), Score("a", "tumour", "dice", None)], history=[{"step": 1.0}])
    path = one.save(tmp_path)
    assert RunRecord.load(path) == one
    assert json.loads(path.read_text())["scores"][0] == {"case": "a", "class": "liver", "metric": "dice", "value": 0.5}


def test_load_records_sorts_by_name_and_skips_temp_files(tmp_path):
    for run_id in "bca":
        record(run_id).save(tmp_path)
    (tmp_path / ".d.json.77.part").write_text("{")
    assert [one.run_id for one in load_records(tmp_path)] == ["a", "b", "c"]


def test_failed_write_keeps_previous_file(tmp_path):
    path = write_json(tmp_path / "x.json", {"a": 1})
    with pytest.raises(ValueError):
        write_json(path, {"a": math.nan})
    with pytest.raises(UnicodeEncodeError):  # fails after the file was opened
        write_text(path, "a\ud800")
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 1}', '{"schema": 2, "scores": []}'])
def test_load_record_names_invalid_file(tmp_path, text):
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"c\.json"):
        RunRecord.load(path)


def test_record_states_exactly_one_train_size(tmp_path):
    path = record(train_fraction=None, train_count=1).save(tmp_path)
    assert RunRecord.load(path).train_size == TrainSize(count=1)
    assert record().train_size == TrainSize(1.0) != TrainSize(count=1)
    for wrong in ({"train_count": 8}, {"train_fraction": None}):
        with pytest.raises(ValueError, match="exactly one"):
            record(**wrong)


def test_sorted_sizes_puts_counts_before_fractions():
    sizes = [TrainSize(1.0), TrainSize(count=8), TrainSize(0.5), TrainSize(count=1), TrainSize(count=8)]
    assert [str(size) for size in sorted_sizes(sizes)] == ["1 case", "8 cases", "0.5", "all"]
