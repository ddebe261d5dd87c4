"""The image branch of a lifted network: its own weights between the stem and the head of a 2D teacher.

The 2D weights of a lifted network are its weights on one slice: depth kernels summed over depth, everything else
unchanged (`dimlift.lifting.flatten.differentiable_flatten`). They replace the teacher's weights in the teacher's
network, except for the stem (first convolutions, position embeddings) and for parts the student does not have (the
head), which stay the teacher's, frozen. Norm statistics stay the teacher's too, and dropout is off: images do not
change what the student has learnt of volume intensities.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from dimlift.backbones.load_report import key_aliases
from dimlift.errors import LiftError
from dimlift.lifting.flatten import differentiable_flatten
from dimlift.lifting.lifted_module import LiftedModule
from dimlift.lifting.stem import stem_convs
from dimlift.methods.teachers.teacher import Teacher


class ImageBranch:
    """Image classifier with the weights of a student. It owns no weights and is no module: nothing of it is saved.

    Args:
        teacher: provides stem and head.
        body: a `LiftedModule` or 2D network made from the same 2D network as the teacher.

    Attributes:
        shared: names of the teacher's weights that are replaced, and the student's names of the replacements.

    Raises:
        LiftError: if the two have no weight in common, or differ where shapes do not show it (attention heads).
    """

    def __init__(self, teacher: Teacher, body: nn.Module) -> None:
        self.teacher, self.body = teacher, body
        network = teacher.frozen.network
        weights = self._weights()
        stem = tuple(f"{name}." for name in stem_convs(network))
        self.shared: dict[str, str] = {}
        for name, weight in network.named_parameters():
            if name.startswith(stem) or "pos_embed" in name:
                continue
            match = next((s for s in key_aliases(name) if s in weights and weights[s].shape == weight.shape), None)
            if match is not None:
                self.shared[name] = match
        if not any(weights[name].ndim > 1 for name in self.shared.values()):
            raise LiftError(
                f"the student has no weight in common with its teacher {teacher.name or type(network).__name__}; "
                "open the network that was lifted as the teacher"
            )
        self._check_heads()

    def logits(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        """Return the student's logits in the teacher's classes, differentiable with respect to its weights."""
        own = self._weights()
        weights = {name: own[match] for name, match in self.shared.items()}
        return functional_call(self.teacher.frozen.network, weights, (self.teacher.normalise(images),))

    @torch.no_grad()
    def agreement(self, images: Float[Tensor, "batch 3 height width"]) -> float:
        """Return the fraction of images for which student and teacher predict the same class."""
        return float((self.logits(images).argmax(1) == self.teacher.logits(images).argmax(1)).float().mean())

    def _weights(self) -> dict[str, Tensor]:
        if isinstance(self.body, LiftedModule):
            return differentiable_flatten(self.body)
        return self.body.state_dict(keep_vars=True)

    def _check_heads(self) -> None:
        """Compare the numbers of attention heads, which weight shapes do not show."""
        student: Any = self.body.network if isinstance(self.body, LiftedModule) else self.body
        modules = dict(student.named_modules())
        for name, module in self.teacher.frozen.network.named_modules():
            heads = getattr(module, "num_heads", None)
            other = next((modules[s] for s in key_aliases(name) if s in modules), None)
            if name and heads is not None and getattr(other, "num_heads", heads) != heads:
                raise LiftError(
                    f"{name} has {heads} attention heads in the teacher and {getattr(other, 'num_heads', None)} in the "
                    "student; open both from the same network"
                )
