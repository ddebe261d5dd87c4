"""What stops a study before or between its cells, as typed: no finished cell is run again or lost."""

import json
import socket

import pytest
from command_line import ask, refused


@pytest.fixture
def study(dataset, tmp_path):
    config = tmp_path / "study.yaml"
    config.write_text(
        f"dataset: {{path: {dataset()}}}\n"
        "arms: {one: {method: unet, widths: [4, 8]}}\n"
        "budget: {steps: 1}\n"
        "seeds: [0]\n"
        "training: {patch_size: [16, 16, 16], batch_size: 1, threads: 1, device: cpu}\n"
    )
    assert ask("compare", config, "--out", tmp_path / "study").code == 0
    return config


def records(out):
    return {path.name: path.read_bytes() for path in (out / "records").glob("*.json")}


def test_a_ray_address_where_nobody_answers_costs_no_finished_cell(study, tmp_path):
    before = records(tmp_path / "study")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = refused("compare", study, "seeds=[0,1]", "--out", tmp_path / "study", "--on", f"ray://127.0.0.1:{port}")
    assert f"no Ray cluster answers at ray://127.0.0.1:{port}" in told
    assert "--on ray://HOST:10001" in told
    assert len(before) == 1
    assert records(tmp_path / "study") == before
    attempts = [path.read_text() for path in (tmp_path / "study" / "attempts").iterdir()]
    assert [len(text.splitlines()) for text in attempts] == [1]


@pytest.mark.parametrize("command", [("compare", "study.yaml", "--out"), ("report",)], ids=lambda words: words[0])
def test_a_record_of_another_version_is_named_and_left_alone(study, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (path,) = (tmp_path / "study" / "records").glob("*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99}))
    before = records(tmp_path / "study")
    told = refused(*command, "study")
    assert path.name in told.replace(" ", "")
    assert "record schema 99, this dimlift reads" in told
    assert "read it with the version named in its 'versions'" in told
    assert records(tmp_path / "study") == before
