"""A trained method with its preprocessing: what a weights folder holds."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from dimlift.config.method_config import MethodConfig, TaskSpec
from dimlift.data.preprocessing.training_range import InputFacts, TrainingRange
from dimlift.errors import ConfigError, CorruptFileError, DataError, DimliftError, RunError, WeightsError
from dimlift.inference.bounded_build import BUILD_FAULTS, bounded_build
from dimlift.inference.departures import array_facts, report_departures, require_training_range
from dimlift.inference.modality.base import InputSample, Modality
from dimlift.inference.modality.registry import MODALITIES, modality_of
from dimlift.lifting.depth_summary import depth_summary
from dimlift.lifting.lifted_module import LiftedModule
from dimlift.lookup import pick
from dimlift.methods.method import Method
from dimlift.methods.registry import METHODS
from dimlift.records.card_schema import SETTINGS, TrainedCard, listed_faults, settings_digest, validate_card
from dimlift.records.weights import CARD_NAME, read_weights, weights_folder, write_weights


@dataclass
class Predictor:
    """A trained method, for volumes or for point clouds.

    Attributes:
        arm: method and options.
        task: what the network was built for.
        preprocessing: from a file to the input of the network; a class of the modality's own.
        method: the network with its loss.
        overlap: of neighbouring windows over a volume.
        bfloat16: mixed precision, as in training.
        cache: folder of features that the runs of a study share.
        training_range: what the training cases held; None if the card does not state it.
        weights_sha256: SHA-256 of the weights file; empty if they were not loaded from one.
        strict: refuse files and arrays that lie outside the range of the training cases, or whose predicted foreground
            does; by default this is an `OutsideTrainingRangeWarning`.
    """

    arm: MethodConfig
    task: TaskSpec
    preprocessing: Any
    method: Method
    overlap: float = 0.5
    bfloat16: bool = False
    cache: Path | None = None
    training_range: TrainingRange | None = None
    weights_sha256: str = ""
    strict: bool = False

    @property
    def modality(self) -> Modality:
        """The kind of data it takes."""
        return modality_of(self.arm)

    def predict(self, source: Any, spacing: Sequence[float] | None = None) -> Any:
        """Predict one case.

        Args:
            source: a file, a list of files (one for each channel), an array, or a preprocessed sample. Arrays are
                volumes (D, H, W) or (C, D, H, W), or points (N, 3).
            spacing: (z, y, x) millimetres between the voxels of an array; 1 if None.

        Returns:
            for a segmentation an integer array: label values of a file or array, on its own grid or in the order of
            its points; class indices of a sample, on the grid of the sample. For a classification the class index. For
            a regression a number.

        Raises:
            DataError: if a file cannot be used, or under `strict` if the case lies outside the range of the training
                cases.
        """
        opened, in_file = self._open(source, spacing)
        found = self.modality.predict(self, opened.sample)
        if in_file and self.training_range is not None and self.task.kind == "segmentation":
            volumes = self.modality.class_volumes(self.preprocessing, found, opened.sample)
            report_departures(self.training_range.foreground_departures(volumes), _name(source), self.strict)
        if self.task.kind == "classification":
            return int(found.argmax())
        if self.task.kind == "regression":
            return float(found[0])
        if not in_file:
            return found
        labels = self.modality.restore(self.preprocessing, found, opened.source)
        # the axes of a file are x, y, z; those of an array z, y, x
        return labels.transpose() if isinstance(source, np.ndarray) else labels

    def predict_proba(self, source: Any, spacing: Sequence[float] | None = None) -> NDArray[Any]:
        """Return the probability of every class for one case.

        Args:
            source: see `predict`.
            spacing: see `predict`.

        Returns:
            (classes, D, H, W) on the grid of the preprocessed volume, (N, classes) in the order of the points, or
            (classes,) for a classification.

        Raises:
            RunError: for a regression.
        """
        if self.task.kind == "regression":
            raise RunError("a regression has no classes; use predict")
        return self.modality.predict_proba(self, self._open(source, spacing)[0].sample)

    def _open(self, source: Any, spacing: Sequence[float] | None) -> tuple[InputSample, bool]:
        """Return a preprocessed case, and whether it comes with the frame of a file."""
        modality = self.modality
        if isinstance(source, np.ndarray):
            content = modality.from_array(source, spacing)
            opened = modality.read_input(self.preprocessing, [content.path], lambda path: content)
            self._compare(array_facts(opened.sample.facts, spacing), source)
            return opened, True
        if isinstance(source, str | Path):
            source = [source]
        if isinstance(source, Sequence):
            read = modality.file_reader(self.preprocessing)
            opened = modality.read_input(self.preprocessing, [Path(file) for file in source], read)
            self._compare(opened.sample.facts, source)
            return opened, True
        return InputSample(source, None), False

    def _compare(self, facts: InputFacts | None, source: Any) -> None:
        if self.training_range is None:
            require_training_range(self.strict)
        elif facts is not None:
            report_departures(self.training_range.departures(facts), _name(source), self.strict)

    def save(self, folder: Path) -> Path:
        """Write the weights folder."""
        card = {
            "modality": self.modality.name,
            "task": self.task.kind,
            **lifted_facts(self.method, self.task.spacing),
            **self.modality.describe_inputs(self.preprocessing),
            "labels": self.preprocessing.labels,
            "arm": self.arm.model_dump(mode="json"),
            "built_for": asdict(self.task),
            "preprocessing": self.preprocessing.to_json(),
            "overlap": self.overlap,
            "precision": "bf16" if self.bfloat16 else "32",
        }
        card["training_range"] = None if self.training_range is None else self.training_range.to_json()
        card["settings_sha256"] = settings_digest(card)
        return write_weights(folder, self.method.state_dict(), card)

    @classmethod
    def load(cls, folder: Path, strict: bool = False) -> "Predictor":
        """Read a weights folder, ready to predict.

        Args:
            strict: see the attribute.

        Raises:
            DataError: if the folder holds no weights, or they are damaged.
            WeightsError: if they do not fit the network the card describes.
        """
        state, card = read_weights(folder)
        digest = validate_card(card, folder / CARD_NAME, TrainedCard).settings_sha256
        with reading_card(folder):
            modality = pick("modality", MODALITIES, card["modality"])
            arm = pick("method", METHODS, card["arm"]["method"]).model_validate(card["arm"])
            if digest is None and (absent := arm.model_dump().keys() - card["arm"].keys()):
                # a default would take their place; with the digest they are options of later versions
                raise ConfigError(f"arm lacks {', '.join(sorted(absent))}")
            if arm.modality != modality.name:
                raise ConfigError(f"method {arm.method!r} takes {arm.modality}, not {modality.name}")
            task = task_of_card(card)
            preprocessing = modality.load_preprocessing(card["preprocessing"])
            overlap, bfloat16 = card["overlap"], card["precision"] == "bf16"
            held = card.get("training_range")
            training_range = None if held is None else TrainingRange.from_json(held)
            with bounded_build(state):
                method = arm.build(task, load_pretrained=False)
        load_state_strict(method, state, folder)
        if digest is not None and digest != settings_digest(card):
            raise CorruptFileError(
                f"{folder / CARD_NAME} was changed after training: {', '.join(SETTINGS)} do not have its "
                "settings_sha256; copy it again, or remove settings_sha256 to use the changed settings"
            )
        return cls(
            arm, task, preprocessing, method.eval(), overlap, bfloat16, training_range=training_range,
            weights_sha256=card["weights_sha256"], strict=strict,
        )  # fmt: skip

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        download: bool = False,
        revision: str | None = None,
        endpoint: str | None = None,
        strict: bool = False,
    ) -> "Predictor":
        """Load a trained method from the folder of its run or weights, or by its name on the Hugging Face hub.

        Args:
            name: a folder, or "owner/name".
            download: fetch what is not on this machine; without it no request is sent.
            revision: of the repository.
            endpoint: URL of another hub.
            strict: see the attribute.

        Raises:
            WeightsError: if the repository does not exist, is gated, or is not on this machine without `download`.
            DataError: if it was written by another version, or is damaged.
        """
        from dimlift.inference.hub import pull

        if Path(name).is_dir():
            return cls.load(weights_folder(Path(name)), strict)
        return cls.load(pull(str(name), download=download, revision=revision, endpoint=endpoint), strict)

    def push_to_hub(self, repository: str, **options: Any) -> str:
        """Upload to the Hugging Face hub and return the URL of the commit; options and errors are those of `push`."""
        from dimlift.inference.hub import push

        with TemporaryDirectory() as scratch:
            return push(self.save(Path(scratch) / "weights"), repository, **options)


@contextmanager
def reading_card(folder: Path) -> Iterator[None]:
    """Turn every error of building what a weights card describes into one that names the file.

    Raises:
        DataError: if the card does not describe its network.
    """
    path = folder / CARD_NAME
    try:
        yield
    except (DimliftError, *BUILD_FAULTS) as fault:
        if str(path) in str(fault):
            raise
        said = listed_faults(fault) if isinstance(fault, ValidationError) else str(fault) or type(fault).__name__
        raise DataError(
            f"{path} does not describe its network ({said[:1000]}); "
            "give a folder that `dimlift train` or `dimlift compare` wrote"
        ) from fault


def task_of_card(card: Mapping[str, Any]) -> TaskSpec:
    """Return what the network of a weights folder was built for."""
    fields = dict(card["built_for"])
    for name in ("spacing", "patch_size", "class_weights"):
        fields[name] = None if fields.get(name) is None else tuple(fields[name])
    return TaskSpec(**fields)


def load_state_strict(method: nn.Module, state: Mapping[str, Tensor], source: Path) -> None:
    """Load every weight.

    Raises:
        WeightsError: naming keys that are missing, unexpected, or of another shape.
    """
    expected = method.state_dict()
    faults = [f"{key} is missing" for key in expected.keys() - state.keys()]
    faults += [f"{key} is unexpected" for key in state.keys() - expected.keys()]
    faults += [
        f"{key} has shape {tuple(state[key].shape)}, expected {tuple(expected[key].shape)}"
        for key in expected.keys() & state.keys()
        if expected[key].shape != state[key].shape
    ]
    if faults:
        shown = "; ".join(sorted(faults)[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
        raise WeightsError(
            f"the weights of {source} do not fit: {shown}. Use the method, network and options they were trained with"
        )
    method.load_state_dict(dict(state))


def lifted_facts(method: nn.Module, spacing: tuple[float, float, float] | None = None) -> dict[str, Any]:
    """Return source, licence, provenance, plan and certificate of the lifted network in a method; None without one.

    Args:
        spacing: millimetres between voxels at the input of the network, for the drawing of its depth plan.
    """
    facts: dict[str, Any] = dict.fromkeys(("source", "licence", "provenance", "plan", "certificate"))
    for module in method.modules():
        if isinstance(module, LiftedModule):
            facts = {name: _to_jsonable(getattr(module, name)) for name in facts}
            if facts["certificate"] is not None:
                facts["certificate"] |= {"stages": depth_summary(module), "spacing": spacing}
            break
    return facts


def _name(source: Any) -> str:
    """Return the file, the first of several, or "array"."""
    if isinstance(source, np.ndarray):
        return "array"
    return str(source if isinstance(source, str | Path) else source[0])


def _to_jsonable(value: Any) -> Any:
    return value.to_json() if hasattr(value, "to_json") else value
