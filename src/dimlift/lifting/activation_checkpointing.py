"""Let the fold survive gradient checkpointing, which runs parts of a forward again when the forward is long over."""

import functools
from typing import Any

import torch.utils.checkpoint

from dimlift.lifting.fold import remember_fold


def keep_fold_through_checkpoints() -> None:
    """Have torch's checkpoint tie the fold of the moment to what it will run again. Once; without a fold, no change.

    The libraries look the function up where torch keeps it, which is the one place all of them pass. Nothing else
    carries over to the second run: not the thread, not the context, and the same leading size may be made of
    another batch and depth.
    """
    plain = torch.utils.checkpoint.checkpoint
    if getattr(plain, "keeps_fold", False):
        return

    @functools.wraps(plain)
    def checkpoint(function: Any, *args: Any, **kwargs: Any) -> Any:
        return plain(remember_fold(function), *args, **kwargs)

    checkpoint.keeps_fold = True  # type: ignore[attr-defined]
    torch.utils.checkpoint.checkpoint = checkpoint
