"""A trained network of points with all that is needed to use it: what a weights folder of one holds."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dimlift.config.method_config import Arm, Task
from dimlift.data.preprocessing.point_clouds import CloudPreprocessing, CloudSample
from dimlift.data.sampling.point_cloud_tiling import cover
from dimlift.inference.predictor import fit_weights, lifted_facts, task_of, understood
from dimlift.lookup import pick
from dimlift.methods.registry import POINT_METHODS
from dimlift.records.weights import read_weights, write_weights

DRAWS_AT_ONCE = 8


@dataclass
class TrainedPoints:
    """A method and the path from a file of points to its input.

    Attributes:
        bfloat16: mixed precision, as in training.
    """

    arm: Arm
    task: Task
    preprocessing: CloudPreprocessing
    method: nn.Module
    bfloat16: bool = False

    @torch.inference_mode()
    def probabilities(self, sample: CloudSample) -> NDArray[np.float32]:
        """Of every class: (N, classes), every point in its place; for a task about whole clouds (classes,)."""
        self.method.eval()
        device = next(self.method.parameters()).device
        segmenting = self.task.kind == "segmentation"
        draws = list(cover(sample.points, self.preprocessing.points, self.preprocessing.radius))
        draws = draws if segmenting else draws[:1]
        total = np.zeros((len(sample.points), self.task.classes), np.float32)
        for first in range(0, len(draws), DRAWS_AT_ONCE):
            some = draws[first : first + DRAWS_AT_ONCE]
            points = np.stack([sample.points[rows] - centre for rows, centre in some])
            shown = None if sample.features is None else np.stack([sample.features[rows] for rows, _ in some])
            features = None if shown is None else torch.from_numpy(shown).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=self.bfloat16):
                logits = self.method(torch.from_numpy(points).to(device), features)
            chances = logits.float().softmax(dim=-1).cpu().numpy()
            if not segmenting:
                return chances[0]
            for (rows, _), found in zip(some, chances, strict=True):
                np.add.at(total, rows, found)  # a draw may hold a point twice
        return total / total.sum(axis=1, keepdims=True)

    def save(self, folder: Path) -> Path:
        """Write the weights folder."""
        card = {
            "task": self.task.kind,
            **lifted_facts(self.method),
            "channels": ["points", *self.preprocessing.features],
            "labels": self.preprocessing.labels,
            "spacing": None,
            "orientation": "that of the files",
            "normalisation": [],
            "arm": self.arm.model_dump(mode="json"),
            "built_for": asdict(self.task),
            "preprocessing": self.preprocessing.to_json(),
            "precision": "bf16" if self.bfloat16 else "32",
        }
        return write_weights(folder, self.method.state_dict(), card)

    @classmethod
    def load(cls, folder: Path) -> "TrainedPoints":
        """Read a weights folder back, ready to predict.

        Raises:
            DataError: if the folder holds no weights, they are damaged, or they are not of points.
            WeightsError: if they do not fit the network the card describes.
        """
        state, card = read_weights(folder)
        with understood(folder):
            arm = pick("method of points", POINT_METHODS, card["arm"]["method"]).model_validate(card["arm"])
            task = task_of(card)
            preprocessing = CloudPreprocessing.from_json(card["preprocessing"])
        method = arm.build(task, fresh=False)
        fit_weights(method, state, folder)
        return cls(arm, task, preprocessing, method.eval(), card["precision"] == "bf16")


def is_of_points(card: Mapping[str, Any]) -> bool:
    """Whether a weights folder holds a trained network of points, by its card."""
    return (card.get("arm") or {}).get("method") in POINT_METHODS
