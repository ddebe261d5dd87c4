"""The plain 3D U-Net from scratch: what a user would otherwise pick."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from dimlift.experiments.arms.arm import Arm, Task

if TYPE_CHECKING:
    from torch import nn


class UNetArm(Arm):
    """Plain 3D U-Net from scratch."""

    method: Literal["unet"] = Field("unet", description="Plain 3D U-Net from scratch.")
    widths: tuple[int, ...] = Field((16, 32, 64, 128), min_length=2, description="Channels of the levels of the U-Net.")

    def build(self, task: Task, *, fresh: bool = True) -> "nn.Module":
        """A U-Net with fresh weights."""
        from dimlift.methods.supervised import Supervised
        from dimlift.models.unet import plain_unet

        return Supervised(plain_unet(task.in_channels, task.classes, widths=self.widths))
