"""A 2D network lifted, with a light 3D decoder: how its slices talk is the plan's matter."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from dimlift.experiments.arms.arm import Arm, PlanSection, Task

if TYPE_CHECKING:
    from torch import nn


class LiftedArm(Arm):
    """2D network lifted to 3D."""

    method: Literal["lifted"] = Field("lifted", description="2D network lifted to 3D.")
    network: str = Field("packaged:efficientnet_lite0")

    def build(self, task: Task, *, fresh: bool = True) -> "nn.Module":
        """x."""
        raise NotImplementedError
