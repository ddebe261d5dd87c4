"""scikit-learn estimators on arrays or files of volumes and point clouds; they train as `dimlift train` does."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from dimlift.data.case import Case, Dataset, TaskType
from dimlift.errors import DataError
from dimlift.evaluation.evaluate import score_cases
from dimlift.inference.modality.registry import modality_of
from dimlift.integrations.array_files import DATASET_WRITERS, DatasetWriter, Files, are_files, is_stack
from dimlift.lookup import pick
from dimlift.methods.registry import METHODS
from dimlift.progress import Progress, no_progress
from dimlift.studies.load_config import parse
from dimlift.studies.run import RunPaths, load_run_data, primary_score, train_run
from dimlift.studies.run_config import TrainConfig

Cases = ArrayLike | Sequence[Files] | Sequence[NDArray[Any]]
"""Volumes (N, D, H, W) or (N, C, D, H, W), or a list of (D, H, W) or (C, D, H, W) of any sizes; point clouds (N, P, 3),
or a list of (P, 3); or a list of files."""

DEFAULTS: dict[str, dict[str, Any]] = {"preprocessing": {"modality": "mr"}}
"""Keys of a section that are set unless they are given."""


class _Estimator(BaseEstimator):
    """Parameters and training of both estimators. Nothing is checked or built before `fit`, as scikit-learn requires.

    Args:
        arm: method and options (docs/methods.md); None takes `default` of the class. The method decides whether cases
            are volumes or point clouds.
        budget: {"steps": N} or {"seconds": S}.
        training: keys of the section `training` (docs/config.md).
        preprocessing: volumes: keys of the section `preprocessing`; modality "mr" (z-score of each volume) by default.
        point_clouds: point clouds: keys of the section `point_clouds`.
        spacing: (z, y, x) millimetres between voxels of arrays; files state it themselves.
        seed: of initial weights, batches and augmentation.
        progress: receives the events of training.
    """

    task: TaskType
    default: Mapping[str, Any]

    def __init__(
        self,
        arm: Mapping[str, Any] | None = None,
        budget: Mapping[str, float] | None = None,
        training: Mapping[str, Any] | None = None,
        preprocessing: Mapping[str, Any] | None = None,
        point_clouds: Mapping[str, Any] | None = None,
        spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
        seed: int = 0,
        progress: Progress = no_progress,
    ) -> None:
        self.arm = arm
        self.budget = budget
        self.training = training
        self.preprocessing = preprocessing
        self.point_clouds = point_clouds
        self.spacing = spacing
        self.seed = seed
        self.progress = progress

    def _fit(
        self, folder: Path, images: list[tuple[Path, ...]], targets: Sequence[Any], labels: dict[str, int]
    ) -> None:
        arm = dict(self.arm or self.default)
        modality = modality_of(pick("method", METHODS, arm["method"]))
        cases = tuple(
            Case(f"case_{n}", files, target, f"case_{n}")
            for n, (files, target) in enumerate(zip(images, targets, strict=True))
        )
        raw = {
            "dataset": {"path": str(folder)},
            "task": self.task,
            "arm": arm,
            "budget": dict(self.budget or {"steps": 200}),
            "training": dict(self.training or {}),
            modality.section: {**DEFAULTS.get(modality.section, {}), **(getattr(self, modality.section) or {})},
            "seed": self.seed,
            "fold": None,
        }
        config = parse(raw, TrainConfig)
        channels = self._writer().channels(images[0])
        dataset = Dataset("arrays", folder, cases, channels, labels, self.task, modality=cast(Any, modality.name))
        data = load_run_data(config, dataset, self.progress)
        paths = RunPaths(*(folder / name for name in ("records", "weights", "predictions", "checkpoints", "cache")))
        self.predictor_, fit, _ = train_run(config, data, paths, self.progress)
        self.predictor_.cache = None  # the folder is temporary
        self.history_ = fit.history

    def _writer(self) -> DatasetWriter:
        method = pick("method", METHODS, (self.arm or self.default)["method"])
        return DATASET_WRITERS[modality_of(method).name](self.spacing)

    def _each(self, X: Cases) -> Iterable[Any]:  # noqa: N803
        """Yield the cases in the form that `Predictor.predict` takes."""
        check_is_fitted(self, "predictor_")
        return X if are_files(X) else self._writer().arrays(X)  # type: ignore[return-value]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "predictor_")


class DimliftClassifier(ClassifierMixin, _Estimator):
    """Classifier of volumes or point clouds. By default a lifted EfficientNet-Lite0 with ImageNet weights.

    Attributes:
        classes_: labels seen in `fit`, sorted.
        predictor_: the trained `dimlift.Predictor`: save it, push it, predict files with it.
    """

    task: TaskType = "classification"
    default: Mapping[str, Any] = {"method": "lifted", "network": "packaged:efficientnet_lite0"}

    def fit(self, X: Cases, y: ArrayLike) -> Self:  # noqa: N803
        """Train.

        Args:
            X: see `Cases`.
            y: (N,) labels of any type.

        Raises:
            DataError, ConfigError: if data or options cannot be used.
        """
        with TemporaryDirectory() as scratch:
            images = self._writer().images(X, Path(scratch))
            truth = np.asarray(y)
            if truth.shape != (len(images),):
                raise DataError(f"y has shape {truth.shape}, expected ({len(images)},): one label for each case")
            self.classes_, indices = np.unique(truth, return_inverse=True)
            labels = {str(label): index for index, label in enumerate(self.classes_)}
            self._fit(Path(scratch), images, [int(index) for index in indices], labels)
        return self

    def predict_proba(self, X: Cases) -> NDArray[np.float64]:  # noqa: N803
        """Return probabilities (N, classes), in the order of `classes_`."""
        cases = self._each(X)
        return np.stack([self.predictor_.predict_proba(case, self.spacing) for case in cases])

    def predict(self, X: Cases) -> NDArray[Any]:  # noqa: N803
        """Return labels, (N,)."""
        indices = self.predict_proba(X).argmax(axis=1)
        return self.classes_[indices]


class DimliftSegmenter(_Estimator):
    """Segmentation of volumes or point clouds. By default the 3D U-Net with frozen 2D features.

    Attributes:
        predictor_: the trained `dimlift.Predictor`: save it, push it, predict files with it.
    """

    task: TaskType = "segmentation"
    default: Mapping[str, Any] = {"method": "frozen_features"}

    def fit(self, X: Cases, y: Cases) -> Self:  # noqa: N803
        """Train.

        Args:
            X: see `Cases`.
            y: integers (N, D, H, W), or a list of (D, H, W), 0 for background, or a list of mask files; of point
                clouds (N, P), or a list of (P,), or the files themselves, which hold the labels of their points.

        Raises:
            DataError, ConfigError: if data or options cannot be used.
        """
        with TemporaryDirectory() as scratch:
            writer = self._writer()
            images, masks = writer.pairs(X, y, Path(scratch))
            self._fit(Path(scratch), images, masks, {str(value): value for value in writer.label_values(masks)})
        return self

    def predict(self, X: Cases) -> NDArray[np.integer[Any]] | list[NDArray[np.integer[Any]]]:  # noqa: N803
        """Return labels: for an array of volumes or points an array, else a list.

        Labels of files lie on the axes of the file, (i, j, k), or in the order of its points.
        """
        cases = self._each(X)
        found = [self.predictor_.predict(case, self.spacing) for case in cases]
        return np.stack(found) if is_stack(X) else found

    def score(self, X: Cases, y: Cases) -> float:  # noqa: N803
        """Return the mean Dice (of point clouds the mean IoU) over cases and classes; NaN where it is undefined."""
        check_is_fitted(self, "predictor_")
        with TemporaryDirectory() as scratch:
            pairs = zip(*self._writer().pairs(X, y, Path(scratch)), strict=True)
            cases = [Case(f"case_{n}", images, mask, "") for n, (images, mask) in enumerate(pairs)]
            found = primary_score(score_cases(self.predictor_, cases))
        return float("nan") if found is None else found[1]
