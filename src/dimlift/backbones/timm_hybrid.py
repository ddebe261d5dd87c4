"""Maps of a hybrid of convolutional stages and a vision transformer, as in TransUNet.

- Dosovitskiy et al., 2020, https://arxiv.org/abs/2010.11929 (hybrids); Chen et al., TransUNet, 2021,
  https://arxiv.org/abs/2102.04306
"""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn


def is_hybrid(network: nn.Module) -> bool:
    """Whether a timm vision transformer embeds the maps of a convolutional network with stages."""
    backbone = getattr(getattr(network, "patch_embed", None), "backbone", None)
    return hasattr(network, "forward_features") and bool(getattr(backbone, "feature_info", None))


class HybridFeatures(nn.Module):
    """(N, C, H, W) -> maps of the convolutional stages that are finer than the tokens, then the tokens as a map.

    Args:
        model: a hybrid of timm without head.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model
        embed: Any = self.model.patch_embed
        tokens: dict[str, Any] = {
            "num_chs": self.model.embed_dim,
            "reduction": self.model.feature_info[-1]["reduction"],  # type: ignore[index]
        }
        finer = [dict(entry) for entry in embed.backbone.feature_info if entry["reduction"] < tokens["reduction"]]
        self.stages = [entry["module"] for entry in finer]
        for entry in finer:
            entry["module"] = f"model.patch_embed.backbone.{entry['module']}"
        self.feature_info = [*finer, {**tokens, "module": "model.norm"}]

    def forward(self, images: Float[Tensor, "n c h w"]) -> list[Float[Tensor, "n _ _ _"]]:
        """Return maps, finest first."""
        embed = self.model.patch_embed
        maps: list[Tensor] = []
        handles = [
            embed.backbone.get_submodule(name).register_forward_hook(lambda *call: maps.append(call[-1]))
            for name in self.stages
        ]
        try:
            tokens = self.model.forward_features(images)
        finally:
            for handle in handles:
                handle.remove()
        height, width = embed.dynamic_feat_size((images.shape[-2], images.shape[-1]))
        grid = tokens[:, self.model.num_prefix_tokens :].transpose(1, 2).unflatten(2, (height, width))
        return [*maps, grid]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Set gradient checkpointing of the transformer; the convolutional stages keep their activations."""
        self.model.set_grad_checkpointing(enable)
