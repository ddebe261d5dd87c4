"""Soft labels of a 2D network for points shown in images (Yu, Sun and Sun, 2022, https://arxiv.org/abs/2203.08479).

    L = -mean_i sum_c p_ic log q_ic

p_i are the 2D network's class probabilities at the pixel that shows point i, q_i those of the sparse 3D network. The
paper's 2D network segments scenes (150 classes of ADE20K). If the network classifies images, its head is applied at
every position of its last map instead: the `per-pixel ImageNet head`, which is coarse and has other classes.
"""

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from dimlift.batch import FrameBatch
from dimlift.errors import LiftError
from dimlift.methods.method import Method
from dimlift.methods.teachers.feature_maps import CachedFeatureMaps, pair_features
from dimlift.methods.teachers.teacher import Teacher
from dimlift.models.point_sparse_unet import PointSparseUNet, centre_colours


@torch.no_grad()
def class_maps(teacher: Teacher, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes h w"]:
    """Return class logits at every position: of a segmentation network, or of a classifier's head at each position.

    Raises:
        LiftError: if the network has neither.
    """
    network = cast(Any, teacher.frozen.network.eval())
    inputs = teacher.normalise(images)
    if not hasattr(network, "forward_head"):
        logits = network(inputs)
        if not isinstance(logits, Tensor) or logits.ndim != 4:
            raise LiftError(f"{teacher.name or 'the 2D network'} returns no class maps; use a segmentation network")
        return logits
    features = network.forward_features(inputs)
    if features.ndim == 3:  # tokens of a transformer
        rows, columns = (n // p for n, p in zip(inputs.shape[2:], network.patch_embed.patch_size, strict=True))
        tokens = features[:, network.num_prefix_tokens :]
        logits = network.head(network.fc_norm(tokens))
        return logits.transpose(1, 2).unflatten(2, (rows, columns))
    widths = {network.num_features, getattr(network, "head_hidden_size", network.num_features)}
    channels_last = features.ndim == 4 and features.shape[1] not in widths
    grid = features if channels_last else features.permute(0, 2, 3, 1)  # (B, h, w, C)
    flat = grid.flatten(0, 2)
    logits = network.forward_head(flat[:, None, None] if channels_last else flat[:, :, None, None])
    if logits.ndim != 2:
        raise LiftError(f"{teacher.name or 'the 2D network'} has no classification head; open it with its head")
    return logits.unflatten(0, grid.shape[:3]).permute(0, 3, 1, 2)


def is_semantic(teacher: Teacher) -> bool:
    """Return whether the network segments; otherwise its labels come from the per-pixel ImageNet head."""
    return not hasattr(teacher.frozen.network, "forward_head")


class SoftLabels(Method[FrameBatch]):
    """Prediction of a 2D network's classes at every point.

    Args:
        model: sparse U-Net with as many outputs as the 2D network has classes; takes three colours.
        maps: `CachedFeatureMaps(teacher, feature_fn=class_maps)`.
    """

    def __init__(self, model: PointSparseUNet, maps: CachedFeatureMaps) -> None:
        super().__init__()
        self.model, self.maps = model, maps

    def forward(self, batch: FrameBatch) -> Float[Tensor, "points classes"]:
        """Return the logits of every point."""
        return self.model(batch.points, centre_colours(batch.colours), batch.frame)

    def loss(self, batch: FrameBatch) -> Float[Tensor, ""]:
        """Return the cross-entropy with the soft labels, over the points shown in an image."""
        targets = pair_features(self.maps(batch.image), batch).softmax(1)
        logits = self(batch)[batch.pair_points]
        return -(targets * logits.float().log_softmax(1)).sum(1).mean()

    def report(self) -> dict[str, Any]:
        """Return the source of the labels."""
        kind = "semantic network" if is_semantic(self.maps.teacher) else "per-pixel ImageNet head"
        return {"soft_labels": f"{kind} of {self.maps.teacher.name}"}
