"""The depth summary of a lifted network agrees with its plan."""

import pytest

from dimlift.lifting.depth_plan import DepthPlan
from dimlift.lifting.depth_summary import depth_summary
from dimlift.lifting.lift import lift


def _summary(name: str, plan: DepthPlan, **options):
    return depth_summary(lift(name, plan, features_only=True, certify=False, **options))


def test_depth_summary_states_kernels_and_pooling_of_each_stage():
    plan = DepthPlan(spacing=(5.0, 0.8, 0.8)).for_stages((2, 4, 8, 16, 32))
    found = _summary("timm:test_resnet", plan)
    assert [stage["kernels"] for stage in found] == [
        [plan.kernel[f"stage{i}"]] if plan.kernel[f"stage{i}"] > 1 else [] for i in range(5)
    ]
    assert {bool(stage["kernels"]) for stage in found} == {True, False}
    depth = 1
    for stage, factor in zip(found, plan.depth_pool, strict=True):
        assert stage["reach"] == (3 * depth if stage["kernels"] else 0)  # before its own pooling
        depth *= factor
        assert stage["stride"][0] == depth


def test_depth_summary_states_cubic_kernels_and_attention():
    cubes = _summary("timm:test_convnext", DepthPlan(kernel="cubic", inflation="average", stride="kernel"))
    assert [stage["kernels"] for stage in cubes] == [[4, 7], [2, 7], [2, 7], [2, 7]]
    assert [stage["reach"] for stage in cubes] == [28, 56, 112, 224]
    tokens = _summary("timm:test_vit", DepthPlan(kernel=1, attention="volume"), image_size=32)
    assert {stage["attention"] for stage in tokens} == {"volume"}
    assert {stage["attention"] for stage in cubes} == {"per_slice"}


@pytest.mark.parametrize("plan", [DepthPlan(kernel=1), DepthPlan(kernel=3)])
def test_depth_summary_of_logits_is_empty(plan):
    assert depth_summary(lift("timm:test_resnet", plan, certify=False)) == []
