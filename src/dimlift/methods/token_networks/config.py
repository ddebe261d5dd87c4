"""Configuration base of methods that pass volume tokens to a 2D vision transformer."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from dimlift.config.method_config import TaskSpec
from dimlift.config.sections import PaperPreset
from dimlift.errors import ConfigError
from dimlift.methods.lifted.config import Backbone2DConfig

if TYPE_CHECKING:
    from torch import nn


class TokenNetworkConfig(PaperPreset, Backbone2DConfig):
    """Base of methods with a tokenizer in place of a vision transformer's patch embedding."""

    network: str = Field(
        default="timm:deit_small_patch16_224",
        description="2D vision transformer with learnt position embeddings, `timm:NAME`.",
    )
    init_from_2d: bool = Field(
        default=True,
        description="Initialise the tokenizer from the network's patch embedding; false initialises it randomly.",
    )

    def _open_transformer(self, task: TaskSpec, load_pretrained: bool) -> "tuple[nn.Module, int]":
        """Open the 2D network; also return the width of its tokens.

        Raises:
            ConfigError: for a segmentation.
        """
        from dimlift.backbones.factory import create_backbone
        from dimlift.models.voxel_transformer import position_table

        if task.kind == "segmentation":
            raise ConfigError(f"{self.method!r} predicts one output per volume; use task: classification or regression")
        network, _ = create_backbone(self.network, **self._weight_options(load_pretrained))
        return network, int(position_table(network)[0].shape[-1])

    def _init_tokenizer(self, tokenizer: Any, network: Any) -> None:
        """Initialise a tokenizer from the network's patch embedding, if `init_from_2d` is set and there is one."""
        patch_embedding = getattr(network.patch_embed, "proj", None)
        if self.init_from_2d and patch_embedding is not None:
            tokenizer.init_from_2d(patch_embedding.weight, patch_embedding.bias)
