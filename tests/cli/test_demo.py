"""What the demo sets up; running it is CI's last step, because it takes a minute."""

from pathlib import Path

import pytest

from dimlift.errors import RunError
from dimlift.methods.registry import METHODS
from dimlift.studies.compare import planned
from dimlift.studies.demo import demo, study


@pytest.mark.parametrize(("quick", "minutes"), [(False, 6), (True, 1)])
def test_all_training_together_stays_within_its_time(quick, minutes):
    plan = study(Path("subjects"), quick)
    assert len(planned(plan)) * plan.budget.seconds <= 60 * minutes


def test_a_full_demo_has_the_seeds_a_verdict_needs_and_says_that_subjects_are_simulated():
    plan = study(Path("subjects"))
    assert len(plan.seeds) >= 3
    assert "simulated" in plan.notes[0]


def test_the_arms_differ_from_their_control_in_one_thing():
    arms = study(Path("subjects")).arms
    assert list(arms) == ["unet", "borrowed", "slices", "lifted", "lifted_random"]
    lifted, control = arms["lifted"].without_names(), arms["lifted_random"].without_names()
    assert {key for key in lifted if lifted[key] != control[key]} == {"pretrained"}
    assert all(arm.method in METHODS and arm.title and arm.description for arm in arms.values())


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "report.html").write_text("last week's")
    with pytest.raises(RunError, match="delete it or choose another folder"):
        demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
