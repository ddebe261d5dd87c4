"""`dimlift evaluate` and `dimlift examples`."""

import csv

import numpy as np
import yaml
from command_line import run_cli, run_rejected, write_image

from dimlift.cli.examples import example_folder


def label_map(path, first):
    array = np.zeros((8, 8, 8), np.uint8)
    array[first : first + 3] = 1
    write_image(path, array)
    return path


def test_evaluate_prints_means_and_writes_every_score(tmp_path):
    for case, first in (("a", 1), ("b", 2)):
        label_map(tmp_path / "found" / f"{case}.nii.gz", 1)
        label_map(tmp_path / "truth" / f"{case}.nii.gz", first)
    table = tmp_path / "scores.csv"
    result = run_cli("evaluate", tmp_path / "found", tmp_path / "truth", "--label", "organ=1", "--out", table)
    assert result.code == 0, result.err
    assert "organ" in result.out
    assert "0.833" in result.out  # the mean of 1 and 2/3
    rows = list(csv.DictReader(table.open()))
    assert {(row["case"], row["metric"]): float(row["value"]) for row in rows}["a", "dice"] == 1
    assert "exists; delete it, or choose another file" in run_rejected("evaluate", tmp_path, tmp_path, "--out", table)
    assert "--label organ is not NAME=VALUE" in run_rejected("evaluate", tmp_path, tmp_path, "--label", "organ")


def test_examples_lists_every_file_and_writes_one(tmp_path):
    listed = run_cli("examples").out
    files = [path.name for path in example_folder().rglob("*.*") if path.suffix in (".yaml", ".py")]
    assert len(files) > 20
    assert all(name in listed for name in files)
    result = run_cli("examples", "study.yaml", "--out", tmp_path)
    assert result.code == 0, result.err
    assert "arms" in yaml.safe_load((tmp_path / "study.yaml").read_text())
    assert "exists" in run_rejected("examples", "study.yaml", "--out", tmp_path)
    assert "nearest" in run_rejected("examples", "studdy.yaml")
