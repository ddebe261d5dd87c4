"""`dimlift weights`: what a weights file holds, with text of the file as data."""

import argparse
import json

import torch
from command_line import run_cli, run_rejected

from dimlift.backbones.factory import create_backbone


def test_weights_lists_dictionaries_what_is_used_and_the_network(tmp_path):
    state = create_backbone("timm:resnet18", pretrained=False)[0].state_dict()
    wrapped = {f"module.backbone.{key}": value for key, value in state.items()}
    slots = {number: {"exp_avg": torch.ones(2)} for number in range(3)}
    content = {"state_dict": wrapped, "optimizer": {"state": slots}, "args": argparse.Namespace(lr=1)}
    torch.save(content, tmp_path / "a.pth")
    text = run_cli("weights", tmp_path / "a.pth").out
    assert "used: state_dict (122 tensors)" in text
    assert "prefix of all names: module.backbone." in text
    assert "Python objects, left empty (1 kinds): argparse.Namespace" in text
    assert "nearest network: timm:resnet18, 122 of its 122 tensors fit" in text
    found = json.loads(run_cli("weights", tmp_path / "a.pth", "--json").out)
    assert [(table["place"], table["tensors"]) for table in found["tables"]] == [
        ("state_dict", 122),
        ("optimizer.state.*", 3),
    ]
    assert found["tables"][0]["examples"][0] == ["module.backbone.conv1.weight", [64, 3, 7, 7]]


def test_names_of_the_file_reach_the_terminal_as_text(tmp_path):
    evil = "[bold]\x1b]0;title\x07\x1b[2J\nforged line\u202e"
    torch.save({evil: {evil: torch.ones(2, 2)}, "x" * 5000: {"w": torch.ones(1)}}, tmp_path / "a.pth")
    for options in ((), ("--json",)):
        text = run_cli("weights", tmp_path / "a.pth", *options).out
        assert not {"\x1b", "\x07", "\u202e"} & set(text)
        assert "\nforged line" not in text
        assert r"\x1b" in text or r"\u001b" in text
    assert len(run_cli("weights", tmp_path / "a.pth").out) < 3000


def test_file_without_weights_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "a.pth").write_text("<html>login</html>")
    assert "is a web page, not weights" in run_rejected("weights", tmp_path / "a.pth")
