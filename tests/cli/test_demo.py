"""The study of the demo; CI runs the demo itself as its last step, because it takes a minute."""

from pathlib import Path

import pytest

from dimlift.errors import RunError
from dimlift.methods.registry import METHODS
from dimlift.studies.compare import planned_runs
from dimlift.studies.demo import demo, demo_study


@pytest.mark.parametrize(("quick", "minutes"), [(False, 6), (True, 1)])
def test_demo_stays_within_time(quick, minutes):
    plan = demo_study(Path("subjects"), quick)
    assert len(planned_runs(plan)) * plan.budget.seconds <= 60 * minutes


def test_demo_has_three_seeds_and_notes_simulation():
    plan = demo_study(Path("subjects"))
    assert len(plan.seeds) >= 3
    assert "simulated" in plan.notes[0]


def test_demo_control_differs_in_pretrained_only():
    arms = demo_study(Path("subjects")).arms
    assert list(arms) == ["unet", "frozen_features", "slicewise", "lifted", "lifted_random"]
    lifted, control = arms["lifted"].hashed_fields(), arms["lifted_random"].hashed_fields()
    assert {key for key in lifted if lifted[key] != control[key]} == {"pretrained"}
    assert all(arm.method in METHODS and arm.title and arm.description for arm in arms.values())


def test_demo_rejects_used_folder(tmp_path):
    (tmp_path / "report.html").write_text("previous")
    with pytest.raises(RunError, match="delete it or choose another folder"):
        demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
