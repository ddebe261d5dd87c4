"""Weights folders: exact round trip, shared tensors, errors for damaged files, no torch import before use."""

import hashlib
import json
import subprocess
import sys

import pytest
import torch

from dimlift.errors import CorruptFileError, DataError
from dimlift.records.weights import read_card, read_weights, write_weights


def test_weights_round_trip_is_exact(tmp_path):
    shared = torch.randn(4, 3)
    state = {"a": shared, "b": shared, "t": shared.T, "n": torch.tensor(3), "h": torch.randn(2).bfloat16()}
    write_weights(tmp_path / "w", state, {"task": "segmentation", "labels": {"liver": 1}})
    back, card = read_weights(tmp_path / "w")
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) and back[name].dtype == state[name].dtype for name in state)
    digest = hashlib.sha256((tmp_path / "w/model.safetensors").read_bytes()).hexdigest()
    assert card == {"schema": 1, "task": "segmentation", "labels": {"liver": 1}, "weights_sha256": digest}
    assert sorted(path.name for path in (tmp_path / "w").iterdir()) == ["model.json", "model.safetensors"]


def test_failed_write_leaves_no_stale_card(tmp_path):
    write_weights(tmp_path, {"a": torch.zeros(1)}, {"task": "x"})
    with pytest.raises(TypeError):
        write_weights(tmp_path, {"a": torch.ones(1)}, {"task": object()})
    with pytest.raises(DataError, match=r"no model\.json"):
        read_weights(tmp_path)


def test_read_weights_reports_damage(tmp_path):
    write_weights(tmp_path, {"a": torch.zeros(100)}, {})
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(CorruptFileError, match=r"model\.safetensors .* bytes\) is damaged"):
        read_weights(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=r"no model\.safetensors"):
        read_weights(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps({"schema": 5}))
    with pytest.raises(DataError, match="schema 5"):
        read_card(tmp_path)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(CorruptFileError, match="not JSON"):
        read_card(tmp_path)


def test_records_metrics_and_report_import_no_torch():
    modules = "dimlift.records.record, dimlift.records.study, dimlift.records.weights, dimlift.metrics.scores"
    code = f"import sys, {modules}, dimlift.report.page, dimlift.report.summary; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_weights_file_mode_follows_umask(tmp_path):
    write_weights(tmp_path, {"a": torch.zeros(1)}, {})
    modes = {(tmp_path / name).stat().st_mode & 0o777 for name in ("model.safetensors", "model.json")}
    assert len(modes) == 1
    assert modes != {0o600}
