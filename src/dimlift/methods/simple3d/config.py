"""Simple3D-Former: a 2D vision transformer on tokens of voxels."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from dimlift.config.method_config import Task
from dimlift.config.sections import Published
from dimlift.errors import ConfigError
from dimlift.methods.lifted.config import FromTwoDimensions

if TYPE_CHECKING:
    from torch import nn


PAPER: dict[str, Any] = {
    "network": "timm:deit_base_patch16_224.fb_in1k",
    "stem": "group",
    "cell": [6, 6, 6],
    "rate": 1e-3,
}
"""ModelNet40 as published: volumes of 30 x 30 x 30 voxels; the training loop: batches of 64, 100 epochs."""


class Simple3DArm(Published, FromTwoDimensions):
    """Simple3D-Former: a 2D vision transformer on voxel tokens, one answer for a volume."""

    published: ClassVar[dict[str, dict[str, Any]]] = {"paper": PAPER}

    method: Literal["simple3d"] = Field(default="simple3d", description="2D vision transformer on voxel tokens.")
    network: str = Field(
        default="timm:deit_small_patch16_224", description="2D vision transformer with learnt positions, `timm:NAME`."
    )
    stem: Literal["cubes", "projection", "group"] = Field(
        default="group",
        description="A token for each cell (naive inflation), or for each column of cells: its mean over depth "
        "(2D projection), or what a small transformer along depth reads in it (group embedding).",
    )
    cell: tuple[int, int, int] = Field(default=(8, 16, 16), description="Voxels (z, y, x) of a cell.")
    inherit: bool = Field(
        default=True, description="Start the stem from the network's patch embedding; false draws it."
    )

    def build(self, task: Task, *, fresh: bool = True) -> "nn.Module":
        """A transformer behind one of the stems."""
        from dimlift.backbones.open_network import open_network
        from dimlift.models.voxel_transformer import VoxelTransformer, position_table
        from dimlift.tokenizers.voxels import CubeTokens, GroupTokens, ProjectedTokens

        if task.kind == "segmentation":
            raise ConfigError(f"{self.method!r} gives one answer for a volume; use task: classification or regression")
        network, _ = open_network(self.network, **self._start(fresh))
        positions, _ = position_table(network)
        cubes = CubeTokens(positions.shape[-1], self.cell, task.in_channels)
        patch: Any = getattr(network.patch_embed, "proj", None)
        if self.inherit and patch is not None:
            cubes.inherit(patch.weight, patch.bias)
        depth = -(-task.patch_size[0] // self.cell[0])
        stem: nn.Module = cubes
        if self.stem == "projection":
            stem = ProjectedTokens(cubes)
        elif self.stem == "group":
            stem = GroupTokens(cubes, depth)
        model = VoxelTransformer(stem, network, task.classes, gradient_checkpointing=task.gradient_checkpointing)
        return self._supervised(model, task)
