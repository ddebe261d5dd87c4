"""Preserve the fold through gradient checkpointing, which recomputes parts of a forward after its end."""

import functools
from typing import Any

import torch.utils.checkpoint

from dimlift.lifting.fold import bind_fold


def preserve_fold_in_checkpoints() -> None:
    """Patch `torch.utils.checkpoint.checkpoint` to bind the current fold to the function it recomputes.

    Idempotent, and without effect outside a lifted network. All libraries call this function through its module. The
    recomputation may run in another thread and outside every context, and the leading size does not determine batch
    and depth, so the fold has to be bound.
    """
    original = torch.utils.checkpoint.checkpoint
    if getattr(original, "preserves_fold", False):
        return

    @functools.wraps(original)
    def checkpoint(function: Any, *args: Any, **kwargs: Any) -> Any:
        return original(bind_fold(function), *args, **kwargs)

    checkpoint.preserves_fold = True  # type: ignore[attr-defined]
    torch.utils.checkpoint.checkpoint = checkpoint
