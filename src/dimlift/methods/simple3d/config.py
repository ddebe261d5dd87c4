"""Configuration of Simple3D-Former: a 2D vision transformer on voxel tokens."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from dimlift.config.method_config import TaskSpec
from dimlift.methods.token_networks.config import TokenNetworkConfig

if TYPE_CHECKING:
    from torch import nn

    from dimlift.methods.method import Method

SIMPLE3D_PAPER: dict[str, Any] = {
    "network": "timm:deit_base_patch16_224.fb_in1k",
    "tokenizer": "group",
    "patch_size": [6, 6, 6],
    "lr": 1e-3,
}
"""Published settings of ModelNet40, for volumes of 30 x 30 x 30 voxels; training loop: batches of 64, 100 epochs."""


class Simple3DConfig(TokenNetworkConfig):
    """Simple3D-Former: a 2D vision transformer on voxel tokens, one output per volume."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": SIMPLE3D_PAPER}

    method: Literal["simple3d"] = Field(default="simple3d", description="2D vision transformer on voxel tokens.")
    tokenizer: Literal["cubes", "projection", "group"] = Field(
        default="group",
        description="One token per 3D patch (`cubes`, naive inflation), or one per column of patches: their mean over "
        "depth (`projection`), or the output of a small transformer along depth (`group`, group embedding).",
    )
    patch_size: tuple[int, int, int] = Field(default=(8, 16, 16), description="Voxels (z, y, x) of a 3D patch.")

    def build(self, task: TaskSpec, *, load_pretrained: bool = True) -> "Method[Any]":
        """Build the transformer behind one of the tokenizers.

        Raises:
            ConfigError: for a segmentation.
        """
        from dimlift.models.voxel_transformer import VoxelTransformer
        from dimlift.tokenizers.voxels import CubeTokenizer, GroupTokenizer, ProjectionTokenizer

        network, width = self._open_transformer(task, load_pretrained)
        cubes = CubeTokenizer(width, self.patch_size, task.in_channels)
        self._init_tokenizer(cubes, network)
        tokenizer: nn.Module = cubes
        if self.tokenizer == "projection":
            tokenizer = ProjectionTokenizer(cubes)
        elif self.tokenizer == "group":
            tokenizer = GroupTokenizer(cubes, depth=-(-task.patch_size[0] // self.patch_size[0]))
        model = VoxelTransformer(
            tokenizer, network, task.num_classes, gradient_checkpointing=task.gradient_checkpointing
        )
        return self._make_method(model, task)
