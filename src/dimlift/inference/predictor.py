"""A trained network with all that is needed to use it: what a weights folder holds."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from dimlift.config.method_config import Arm, Task
from dimlift.data.preprocessing.preprocessing import Preprocessing
from dimlift.data.preprocessing.sample import Sample
from dimlift.errors import DataError, WeightsError
from dimlift.inference.sliding_window import classify, labels_of, segment
from dimlift.inference.streaming_window import Tile
from dimlift.lifting.depth_summary import outline
from dimlift.lifting.lifted_module import Lifted
from dimlift.lookup import pick
from dimlift.methods.registry import METHODS, POINT_METHODS
from dimlift.records.weights import read_weights, write_weights


@dataclass
class Trained:
    """A method and the path from a file to its input.

    Attributes:
        overlap: of neighbouring windows.
        bfloat16: mixed precision, as in training.
        cache: folder of features the cells of a study share; test volumes are the same for every seed.
    """

    arm: Arm
    task: Task
    preprocessing: Preprocessing
    method: nn.Module
    overlap: float = 0.5
    bfloat16: bool = False
    cache: Path | None = None

    def answer(self, sample: Sample) -> NDArray[Any]:
        """Class index of every voxel (D, H, W); for a task about whole volumes the logits (classes,)."""
        if self.task.kind == "segmentation":
            return labels_of(self._tiles(sample), sample.image.shape[1:])
        image = torch.from_numpy(sample.image)
        return classify(self.method, image, smallest=self.task.patch_size, bfloat16=self.bfloat16).numpy()

    def probabilities(self, sample: Sample) -> NDArray[np.float32]:
        """Of every class in every voxel, (classes, D, H, W): the whole volume in memory, once a class."""
        found = np.zeros((self.task.classes, *sample.image.shape[1:]), np.float32)
        for tile in self._tiles(sample):
            found[:, tile.depth, tile.height] = tile.logits.softmax(dim=0).numpy()
        return found

    def _tiles(self, sample: Sample) -> Iterator[Tile]:
        return segment(
            self.method,
            torch.from_numpy(sample.image),
            window=self.task.patch_size,
            overlap=self.overlap,
            features=self.arm.companions(self.method, sample, self.cache),
            feature_stride=getattr(self.method, "feature_stride", 1),
            bfloat16=self.bfloat16,
        )

    def slice_weights(self, sample: Sample) -> tuple[int, list[float]] | None:
        """Share of each slice of the file in the answer, and the axis of the file that slices lie along.

        Where depth was resampled, shares are interpolated; they sum to one. None for networks that weigh no slices.
        """
        weigh = getattr(self.method, "slice_weights", None)
        if weigh is None:
            return None
        geometry = sample.geometry
        depth = geometry.turned_shape[0]
        found = weigh(torch.from_numpy(sample.image)).numpy()
        places = (np.arange(depth) + 0.5) * len(found) / depth - 0.5
        along = np.interp(places, np.arange(len(found)), found)
        numbers = np.broadcast_to(np.arange(depth)[:, None, None], geometry.turned_shape)
        order = geometry.turn.backward(numbers)
        axis = next((i for i in range(3) if np.ptp(order.take([0, -1], i), axis=i).any()), 0)
        slices = np.moveaxis(order, axis, 0)[:, 0, 0]
        return axis, (along[slices] / along.sum()).tolist()

    def save(self, folder: Path) -> Path:
        """Write the weights folder."""
        card = {
            "task": self.task.kind,
            **lifted_facts(self.method, self.task.spacing),
            "channels": list(self.preprocessing.channels),
            "labels": self.preprocessing.labels,
            "spacing": self.preprocessing.spacing,
            "orientation": "RAS",
            "normalisation": [rule.to_json() for rule in self.preprocessing.normalisation],
            "arm": self.arm.model_dump(mode="json"),
            "built_for": asdict(self.task),
            "preprocessing": self.preprocessing.to_json(),
            "overlap": self.overlap,
            "precision": "bf16" if self.bfloat16 else "32",
        }
        return write_weights(folder, self.method.state_dict(), card)

    @classmethod
    def load(cls, folder: Path) -> "Trained":
        """Read a weights folder back, ready to predict.

        Raises:
            DataError: if the folder holds no weights, or they are damaged.
            WeightsError: if they do not fit the network the card describes.
        """
        state, card = read_weights(folder)
        if (card.get("arm") or {}).get("method") in POINT_METHODS:
            raise WeightsError(
                f"{folder} holds a network of points, volumes are wanted here; it is for `dimlift predict` with clouds "
                "and for `start` of an arm of points"
            )
        with understood(folder):
            arm = pick("method", METHODS, card["arm"]["method"]).model_validate(card["arm"])
            task = task_of(card)
            preprocessing = Preprocessing.from_json(card["preprocessing"])
        method = arm.build(task, fresh=False)
        fit_weights(method, state, folder)
        return cls(arm, task, preprocessing, method.eval(), card["overlap"], card["precision"] == "bf16")

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, download: bool = False, revision: str | None = None, endpoint: str | None = None
    ) -> "Trained":
        """A trained network by the folder of its run or weights, or by its name on the Hugging Face hub.

        Args:
            name: a folder; else "owner/name".
            download: fetch what is not on this machine; without it nothing is asked of the network.
            revision: of the repository.
            endpoint: address of another hub.

        Raises:
            WeightsError: if the repository does not exist, is gated, or is not here and must not be fetched.
            DataError: if it was written by another version, or is damaged.
        """
        from dimlift.inference.hub import pull
        from dimlift.records.weights import weights_folder

        if Path(name).is_dir():
            return cls.load(weights_folder(Path(name)))
        return cls.load(pull(str(name), download=download, revision=revision, endpoint=endpoint))

    def push_to_hub(self, repository: str, **options: Any) -> str:
        """Put it onto the Hugging Face hub; options and errors are those of `dimlift.push`.

        Returns:
            address of the commit.
        """
        from tempfile import TemporaryDirectory

        from dimlift.inference.hub import push

        with TemporaryDirectory() as scratch:
            return push(self.save(Path(scratch) / "weights"), repository, **options)


@contextmanager
def understood(folder: Path) -> Iterator[None]:
    """Inside the block the card of a weights folder is read. Raises: DataError, if it lacks what is asked of it."""
    try:
        yield
    except (KeyError, TypeError, ValidationError) as fault:
        raise DataError(
            f"{folder / 'model.json'} does not say how to build its network ({fault}); "
            "give a folder that `dimlift train` or `dimlift compare` wrote"
        ) from fault


def task_of(card: Mapping[str, Any]) -> Task:
    """What the network of a weights folder was built for."""
    fields = dict(card["built_for"])
    for name in ("spacing", "patch_size", "class_weights"):
        fields[name] = None if fields.get(name) is None else tuple(fields[name])
    return Task(**fields)


def fit_weights(method: nn.Module, state: Mapping[str, Tensor], source: Path) -> None:
    """Load every weight, and say which do not fit.

    Raises:
        WeightsError: listing keys that are missing, left over, or of another shape.
    """
    wanted = method.state_dict()
    faults = [f"{key} is missing" for key in wanted.keys() - state.keys()]
    faults += [f"{key} is not wanted" for key in state.keys() - wanted.keys()]
    faults += [
        f"{key} has the shape {tuple(state[key].shape)}, {tuple(wanted[key].shape)} is wanted"
        for key in wanted.keys() & state.keys()
        if wanted[key].shape != state[key].shape
    ]
    if faults:
        shown = "; ".join(sorted(faults)[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
        raise WeightsError(
            f"the weights of {source} do not fit: {shown}. Use the method, network and options they were trained with"
        )
    method.load_state_dict(dict(state))


def lifted_facts(method: nn.Module, spacing: tuple[float, float, float] | None = None) -> dict[str, Any]:
    """Source, licence, provenance, plan and certificate of a method's lifted network; None where there is none.

    Args:
        spacing: millimetres between voxels as the network sees them, for the drawing of its depth plan.
    """
    facts: dict[str, Any] = dict.fromkeys(("source", "licence", "provenance", "plan", "certificate"))
    for module in method.modules():
        if isinstance(module, Lifted):
            facts = {name: _plain(getattr(module, name)) for name in facts}
            if facts["certificate"] is not None:
                facts["certificate"] |= {"stages": outline(module), "spacing": spacing}
            break
    return facts


def _plain(value: Any) -> Any:
    return value.to_json() if hasattr(value, "to_json") else value
