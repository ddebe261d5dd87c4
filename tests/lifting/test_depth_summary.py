"""What the report draws of a lifted network is what its plan said."""

import pytest

from dimlift.lifting.depth_plan import DepthPlan
from dimlift.lifting.depth_summary import outline
from dimlift.lifting.lift import lift


def _outline(name: str, plan: DepthPlan, **options):
    return outline(lift(name, plan, features_only=True, certify=False, **options))


def test_thick_slices_talk_late_and_are_reduced_as_planned():
    plan = DepthPlan.from_spacing((5.0, 0.8, 0.8)).by_stage((2, 4, 8, 16, 32))
    found = _outline("timm:test_resnet", plan)
    assert [stage["kernels"] for stage in found] == [
        [plan.kernel[f"stage{i}"]] if plan.kernel[f"stage{i}"] > 1 else [] for i in range(5)
    ]
    assert {bool(stage["kernels"]) for stage in found} == {True, False}
    depth = 1
    for stage, factor in zip(found, plan.reduce, strict=True):
        assert stage["reach"] == (3 * depth if stage["kernels"] else 0)  # before its own reduction
        depth *= factor
        assert stage["stride"][0] == depth


def test_cubes_and_attention_are_named_where_they_are():
    cubes = _outline("timm:test_convnext", DepthPlan(kernel="cubic", profile="average", stride="kernel"))
    assert [stage["kernels"] for stage in cubes] == [[4, 7], [2, 7], [2, 7], [2, 7]]
    assert [stage["reach"] for stage in cubes] == [28, 56, 112, 224]
    tokens = _outline("timm:test_vit", DepthPlan(kernel=1, attention="joint"), image_size=32)
    assert {stage["attention"] for stage in tokens} == {"joint"}
    assert {stage["attention"] for stage in cubes} == {"slice"}


@pytest.mark.parametrize("plan", [DepthPlan(kernel=1), DepthPlan(kernel=3)])
def test_a_network_that_answers_with_logits_has_no_stages(plan):
    assert outline(lift("timm:test_resnet", plan, certify=False)) == []
