"""Predictions made elsewhere, as an arm: nothing is trained, everything is scored."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from dimlift.config.method_config import Arm, Task
from dimlift.errors import ConfigError
from dimlift.methods.baselines.unets import require_segmentation

if TYPE_CHECKING:
    from torch import nn


class ExternalArm(Arm):
    """Predictions made elsewhere, scored like every other arm's."""

    method: Literal["external"] = Field(default="external", description="Predictions made elsewhere.")
    external: str = Field(
        default="",
        description="Folder of label maps named like the cases, or a result folder of nnU-Net with "
        "`fold_0/validation`. `{seed}` and `{fraction}` in it stand for those of a run; without them the folder counts "
        "as one training, with the first seed and the largest fraction.",
    )

    def build(self, task: Task, *, fresh: bool = True) -> "nn.Module":
        """Raises: ConfigError, always: there is no network."""
        require_segmentation(self.method, task)
        raise ConfigError("method 'external' scores predictions made elsewhere and trains nothing; use dimlift compare")

    def runs(self, fraction: float, seed: int, fractions: Sequence[float], seeds: Sequence[int]) -> bool:
        """Whether the folder holds, or may hold, predictions for this fraction and seed."""
        largest = 1.0 if 1.0 in fractions else max(fractions)
        return ("{seed}" in self.external or seed == seeds[0]) and (
            "{fraction}" in self.external or fraction == largest
        )

    def folder(self, fold: int | None, fraction: float, seed: int) -> Path:
        """Where the predictions of one cell lie.

        Raises:
            ConfigError: if there is no such folder.
        """
        root = Path(self.external.replace("{seed}", str(seed)).replace("{fraction}", f"{fraction:g}"))
        if not self.external or not root.is_dir():
            raise ConfigError(f"external: {str(root)!r} is no folder; give the folder that holds the predictions")
        validation = root / f"fold_{0 if fold is None else fold}" / "validation"
        if not validation.is_dir() and any(root.glob("fold_*/validation")):
            raise ConfigError(f"{root} holds folds of nnU-Net, but not fold_{fold}/validation; leave it out of 'folds'")
        return validation if validation.is_dir() else root
