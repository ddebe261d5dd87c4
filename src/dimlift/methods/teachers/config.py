"""Options of a frozen 2D teacher."""

from typing import TYPE_CHECKING

from pydantic import Field

from dimlift.config.sections import Section

if TYPE_CHECKING:
    from dimlift.methods.teachers.teacher import Teacher


class MapTeacherConfig(Section):
    """A frozen 2D network that returns feature maps."""

    network: str = Field(default="packaged:efficientnet_lite0", description="2D network, `SOURCE:NAME`.")
    weights: str | None = Field(
        default=None, description="Weights file of the 2D network, instead of the source's weights."
    )
    pretrained: bool | None = Field(
        default=None,
        description="Load the source's weights; not set: if `weights` is set or the network is packaged with weights.",
    )

    def teacher(self, head: bool = False) -> "Teacher":
        """Open the network for images of any size; with its head if class logits are needed."""
        from dimlift.methods.teachers.teacher import open_map_teacher

        return open_map_teacher(self.network, head=head, pretrained=self.pretrained, weights=self.weights)
