"""Soft labels of a 2D network on the points its pictures show (Yu, Sun and Sun, 2022, https://arxiv.org/abs/2203.08479).

    L = -mean_i sum_c p_ic log q_ic

p_i are the 2D network's class probabilities at the pixel that shows point i, q_i those of the sparse 3D network. The
paper's 2D network segments scenes (150 classes of ADE20K). Where the network at hand classifies whole pictures, its
head is asked at every cell of its last map instead: the `per-pixel ImageNet head`, coarse and made for other classes.
"""

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.batch import FrameBatch
from dimlift.errors import CannotLift
from dimlift.methods.supervised.param_groups import parameter_groups
from dimlift.methods.teachers.feature_maps import TeacherMaps, pair_values
from dimlift.methods.teachers.teacher import Teacher
from dimlift.models.point_sparse_unet import PointUNet, centred


@torch.no_grad()
def class_maps(teacher: Teacher, pictures: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes h w"]:
    """Logits of every cell: of a network that segments as it answers, of one that classifies by its head at each cell.

    Raises:
        CannotLift: if the network has neither.
    """
    network = cast(Any, teacher.frozen.network.eval())
    shown = teacher.normalised(pictures)
    if not hasattr(network, "forward_head"):
        answer = network(shown)
        if not isinstance(answer, Tensor) or answer.ndim != 4:
            raise CannotLift(f"{teacher.name or 'the 2D network'} gives no map of classes; take one that segments")
        return answer
    features = network.forward_features(shown)
    wide = {network.num_features, getattr(network, "head_hidden_size", network.num_features)}
    if features.ndim == 3:  # tokens of a transformer, on a square or on the grid of its patches
        rows, columns = (n // p for n, p in zip(shown.shape[2:], network.patch_embed.patch_size, strict=True))
        tokens = features[:, network.num_prefix_tokens :]
        answer = network.head(network.fc_norm(tokens))
        return answer.transpose(1, 2).unflatten(2, (rows, columns))
    last = features.ndim == 4 and features.shape[1] not in wide
    cells = features if last else features.permute(0, 2, 3, 1)  # (B, h, w, C)
    flat = cells.flatten(0, 2)
    answer = network.forward_head(flat[:, None, None] if last else flat[:, :, None, None])
    if answer.ndim != 2:
        raise CannotLift(f"{teacher.name or 'the 2D network'} has no head that names classes; open it with its head")
    return answer.unflatten(0, cells.shape[:3]).permute(0, 3, 1, 2)


def is_semantic(teacher: Teacher) -> bool:
    """Whether the network segments; else its labels are those of the per-pixel ImageNet head."""
    return not hasattr(teacher.frozen.network, "forward_head")


class SoftLabels(nn.Module):
    """Foresee a 2D network's classes at every point.

    Args:
        model: 3D network that answers with as many classes; takes three colours.
        maps: `TeacherMaps(teacher, ask=class_maps)`.
    """

    def __init__(self, model: PointUNet, maps: TeacherMaps) -> None:
        super().__init__()
        self.model, self.maps = model, maps

    def forward(self, batch: FrameBatch) -> Float[Tensor, "points classes"]:
        """Logits of every point."""
        return self.model(batch.points, centred(batch.colours), batch.frame)

    def loss(self, batch: FrameBatch) -> Float[Tensor, ""]:
        """Cross entropy with the soft labels, over the points that a picture shows."""
        wanted = pair_values(self.maps(batch.image), batch).softmax(1)
        return soft_cross_entropy(self(batch)[batch.pair_points], wanted)

    def report(self) -> dict[str, Any]:
        """For the record: whose labels these were."""
        kind = "semantic network" if is_semantic(self.maps.teacher) else "per-pixel ImageNet head"
        return {"soft_labels": f"{kind} of {self.maps.teacher.name}"}

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """The 3D network alone."""
        return parameter_groups(self.model, rate)

    def set_progress(self, progress: float) -> None:
        """Nothing changes over the budget."""


def soft_cross_entropy(
    logits: Float[Tensor, "points classes"], wanted: Float[Tensor, "points classes"]
) -> Float[Tensor, ""]:
    """-mean_i sum_c p_ic log q_ic."""
    return -(wanted * logits.float().log_softmax(1)).sum(1).mean()
