"""SIGKILL at random moments: the repeated command gives the same result as an uninterrupted run."""

import json

import pytest

from .conftest import run_results
from .small_run import begin, finish


@pytest.mark.parametrize(
    ("kills", "steps", "workers"),
    [
        (3, 10, 0),
        pytest.param(20, 40, 0, marks=pytest.mark.slow),
        pytest.param(8, 30, 1, marks=pytest.mark.slow),
    ],
)
def test_killed_run_gives_identical_results(config_file, tmp_path, kills, steps, workers):
    # every step writes a checkpoint, so most kills happen during a write
    program = begin("train_and_kill", str(config_file(steps, num_workers=workers)), str(tmp_path), kills, kills)
    code, output, errors = finish(program)
    assert code == 0, errors
    assert set(json.loads(output)) == {0}, errors
    expected = run_results(tmp_path / "complete")
    for run in tmp_path.glob("killed-*"):
        assert run_results(run) == expected, run
        assert not (run / "checkpoints").exists()
        assert not list(run.rglob(".*.part"))
