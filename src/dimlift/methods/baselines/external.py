"""External predictions as an arm of a study: scored, never trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from dimlift.config.method_config import MethodConfig, TaskSpec
from dimlift.errors import ConfigError
from dimlift.methods.method import Method
from dimlift.records.train_size import TrainSize, sorted_sizes


class ExternalConfig(MethodConfig):
    """Predictions made by another program, scored like those of every other arm."""

    method: Literal["external"] = Field(default="external", description="Predictions made by another program.")
    external: str = Field(
        default="",
        description="Folder of label maps named like the cases, or a result folder of nnU-Net with "
        "`fold_0/validation`. `{seed}`, `{train_fraction}` and `{train_count}` in it are replaced by the values of a "
        "run; without them the folder counts as one training run, with the first seed and the largest training size.",
    )

    def build(self, task: TaskSpec, *, load_pretrained: bool = True) -> Method[Any]:
        """Raise an error: there is no network.

        Raises:
            ConfigError: always.
        """
        self.require_segmentation(task)
        raise ConfigError(
            "method 'external' scores predictions of another program and trains nothing; use dimlift compare"
        )

    def covers_run(self, size: TrainSize, seed: int, sizes: Sequence[TrainSize], seeds: Sequence[int]) -> bool:
        """Return whether the folder holds predictions of the run with this training size and seed.

        Args:
            sizes: all training sizes of the study.
            seeds: all seeds of the study.
        """
        if "{seed}" not in self.external and seed != seeds[0]:
            return False
        if "{train_fraction}" in self.external or "{train_count}" in self.external:
            return size.fill_in(self.external) != self.external
        return size == sorted_sizes(sizes)[-1]

    def folder(self, fold: int | None, size: TrainSize, seed: int) -> Path:
        """Return the folder of the predictions of one run.

        Raises:
            ConfigError: if there is no such folder.
        """
        root = Path(size.fill_in(self.external).replace("{seed}", str(seed)))
        if not self.external or not root.is_dir():
            raise ConfigError(f"external: {str(root)!r} is not a folder; set the folder of the predictions")
        validation = root / f"fold_{0 if fold is None else fold}" / "validation"
        if not validation.is_dir() and any(root.glob("fold_*/validation")):
            raise ConfigError(f"{root} holds folds of nnU-Net, but not fold_{fold}/validation; leave it out of 'folds'")
        return validation if validation.is_dir() else root
