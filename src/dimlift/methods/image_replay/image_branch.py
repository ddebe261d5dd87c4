"""What a lifted network answers to pictures: its own body between the tokenizer and the head of a 2D teacher.

The 2D path of a lifted network is its weights on one slice: depth kernels summed over depth, everything else as it is
(`dimlift.lifting.flatten.flat_weights`). These stand in the teacher's network in place of the teacher's, all but what
reads the picture (first convolutions, position tables) and what the student does not have (the head): these stay the
teacher's, frozen. Norm statistics stay the teacher's too, and dropout sleeps: pictures never move what the student
knows of volumes' intensities.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from dimlift.backbones.load_report import spellings
from dimlift.errors import CannotLift
from dimlift.lifting.flatten import flat_weights
from dimlift.lifting.lifted_module import Lifted
from dimlift.lifting.stem import image_readers
from dimlift.methods.teachers.teacher import Teacher


class PicturePath:
    """Asks a student about pictures. Holds no weight of its own, and is no module: nothing of it is trained or saved.

    Args:
        teacher: whose tokenizer and head are used.
        body: a `Lifted` network, or a 2D one, that came from the same 2D network as the teacher.

    Attributes:
        shared: names of the teacher's weights in whose place the student's stand, and the student's names of them.

    Raises:
        CannotLift: if the two have no weight in common, or the body differs from the teacher where shapes do not show
            it (attention heads).
    """

    def __init__(self, teacher: Teacher, body: nn.Module) -> None:
        self.teacher, self.body = teacher, body
        network = teacher.frozen.network
        own = self._weights()
        kept = tuple(f"{name}." for name in image_readers(network))
        self.shared: dict[str, str] = {}
        for name, weight in network.named_parameters():
            if name.startswith(kept) or "pos_embed" in name:
                continue
            found = next((s for s in spellings(name) if s in own and own[s].shape == weight.shape), None)
            if found is not None:
                self.shared[name] = found
        if not any(own[name].ndim > 1 for name in self.shared.values()):
            raise CannotLift(
                f"the student has no weight in common with its teacher {teacher.name or type(network).__name__}; "
                "open as teacher the network that was lifted"
            )
        self._same_heads()

    def logits(self, pictures: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        """The student's answer in the teacher's classes, with a graph to the student's weights."""
        own = self._weights()
        weights = {name: own[student] for name, student in self.shared.items()}
        return functional_call(self.teacher.frozen.network, weights, (self.teacher.normalised(pictures),))

    @torch.no_grad()
    def agreement(self, pictures: Float[Tensor, "batch 3 height width"]) -> float:
        """Share of pictures to which student and teacher give the same first class."""
        return float((self.logits(pictures).argmax(1) == self.teacher.logits(pictures).argmax(1)).float().mean())

    def _weights(self) -> dict[str, Tensor]:
        return flat_weights(self.body) if isinstance(self.body, Lifted) else self.body.state_dict(keep_vars=True)

    def _same_heads(self) -> None:
        """Shapes do not tell how many heads attention has, and a network with other ones is another function."""
        student: Any = self.body.network if isinstance(self.body, Lifted) else self.body
        modules = dict(student.named_modules())
        for name, module in self.teacher.frozen.network.named_modules():
            heads = getattr(module, "num_heads", None)
            other = next((modules[s] for s in spellings(name) if s in modules), None)
            if name and heads is not None and getattr(other, "num_heads", heads) != heads:
                raise CannotLift(
                    f"{name} has {heads} attention heads in the teacher and {getattr(other, 'num_heads', None)} in the "
                    "student; open both from the same network"
                )
