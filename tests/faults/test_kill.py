"""SIGKILL at any moment: whatever the run was doing, the same command ends where it would have ended."""

import json

import pytest

from .conftest import left_behind
from .small_run import begin, finish


@pytest.mark.parametrize(
    ("kills", "steps", "workers"),
    [
        (3, 10, 0),
        pytest.param(20, 40, 0, marks=pytest.mark.slow),
        pytest.param(8, 30, 1, marks=pytest.mark.slow),
    ],
)
def test_a_run_killed_at_random_moments_ends_bit_for_bit_where_it_would_have(
    config_file, tmp_path, kills, steps, workers
):
    # every step writes a checkpoint, so most kills fall into the writing of one
    program = begin("train_and_kill", str(config_file(steps, workers=workers)), str(tmp_path), kills, kills)
    code, said, complained = finish(program)
    assert code == 0, complained
    assert set(json.loads(said)) == {0}, complained
    whole = left_behind(tmp_path / "whole")
    for run in tmp_path.glob("killed-*"):
        assert left_behind(run) == whole, run
        assert not (run / "checkpoints").exists()
        assert not list(run.rglob(".*.part"))
