"""Errors of `dimlift compare` and `report`: no finished run is repeated or lost."""

import json
import socket

import pytest
from command_line import run_cli, run_rejected


@pytest.fixture
def study(dataset, tmp_path):
    config = tmp_path / "study.yaml"
    config.write_text(
        f"dataset: {{path: {dataset()}}}\n"
        "arms: {one: {method: unet, widths: [4, 8]}}\n"
        "budget: {steps: 1}\n"
        "seeds: [0]\n"
        "training: {patch_size: [16, 16, 16], batch_size: 1, num_threads: 1, device: cpu}\n"
    )
    assert run_cli("compare", config, "--out", tmp_path / "study").code == 0
    return config


def records(out):
    return {path.name: path.read_bytes() for path in (out / "records").glob("*.json")}


def test_unreachable_ray_cluster_keeps_finished_runs(study, tmp_path):
    before = records(tmp_path / "study")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    message = run_rejected(
        "compare", study, "seeds=[0,1]", "--out", tmp_path / "study", "--executor", f"ray://127.0.0.1:{port}"
    )
    assert f"no Ray cluster responds at ray://127.0.0.1:{port}" in message
    assert "--executor ray://HOST:10001" in message
    assert len(before) == 1
    assert records(tmp_path / "study") == before
    attempts = [path.read_text() for path in (tmp_path / "study" / "attempts").iterdir()]
    assert [len(text.splitlines()) for text in attempts] == [1]


@pytest.mark.parametrize("command", [("compare", "study.yaml", "--out"), ("report",)], ids=lambda words: words[0])
def test_record_of_other_schema_is_named_and_kept(study, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (path,) = (tmp_path / "study" / "records").glob("*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99}))
    before = records(tmp_path / "study")
    message = run_rejected(*command, "study")
    assert path.name in message.replace(" ", "")
    assert "record schema 99, this version of dimlift reads" in message
    assert "read it with the version named in its 'versions'" in message
    assert records(tmp_path / "study") == before
