"""scikit-learn estimators: fit, predict and score on arrays or files, through the same path as every other run."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self, cast

import nibabel
import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from dimlift.data.case import Case, Dataset, Task
from dimlift.data.datasets.image_label_folders import label_values
from dimlift.data.io.readers import read_file
from dimlift.errors import DataError
from dimlift.evaluation.evaluate import score_cases
from dimlift.inference.predictor import Trained
from dimlift.progress import Progress, silent
from dimlift.studies.load_config import parse
from dimlift.studies.run import Places, main_score, read_material, train_cell
from dimlift.studies.run_config import TrainConfig

Files = str | Path | Sequence[str | Path]
"""One volume: a file, or one file for each channel."""


class _Estimator(BaseEstimator):
    """What both have in common. Nothing is checked or built before `fit`, as scikit-learn wants it.

    Args:
        arm: method and options of an arm (docs/methods.md); see `default` of each class if None.
        budget: {"steps": N} or {"seconds": S}.
        training: keys of the section `training` (docs/config.md).
        preprocessing: keys of the section `preprocessing`; modality "mr" (z-score of each volume) if not given.
        spacing: (z, y, x) millimetres of arrays; files say it themselves.
        seed: draws initial weights, patches and augmentation.
        progress: hears the events of training.
    """

    task: Task
    default: Mapping[str, Any]

    def __init__(
        self,
        arm: Mapping[str, Any] | None = None,
        budget: Mapping[str, float] | None = None,
        training: Mapping[str, Any] | None = None,
        preprocessing: Mapping[str, Any] | None = None,
        spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
        seed: int = 0,
        progress: Progress = silent,
    ) -> None:
        self.arm = arm
        self.budget = budget
        self.training = training
        self.preprocessing = preprocessing
        self.spacing = spacing
        self.seed = seed
        self.progress = progress

    def _fit(
        self, folder: Path, images: list[tuple[Path, ...]], answers: Sequence[Any], labels: dict[str, int]
    ) -> None:
        cases = tuple(
            Case(f"case_{n}", files, answer, f"case_{n}")
            for n, (files, answer) in enumerate(zip(images, answers, strict=True))
        )
        channels = tuple(f"channel {n}" for n in range(_channels(images[0])))
        raw = {
            "dataset": {"path": str(folder)},
            "task": self.task,
            "arm": dict(self.arm or self.default),
            "budget": dict(self.budget or {"steps": 200}),
            "training": dict(self.training or {}),
            "preprocessing": {"modality": "mr", **(self.preprocessing or {})},
            "seed": self.seed,
            "fold": None,
        }
        config = parse(raw, TrainConfig)
        dataset = Dataset("arrays", folder, cases, channels, labels, self.task)
        material = read_material(config, dataset, self.progress)
        places = Places(*(folder / name for name in ("records", "weights", "predictions", "checkpoints", "cache")))
        self.trained_, fit, _ = train_cell(config, material, places, self.progress)
        self.trained_.cache = None  # the folder goes
        self.history_ = fit.history

    def _answers(self, images: Iterable[tuple[Path, ...]]) -> Iterable[Any]:
        check_is_fitted(self, "trained_")
        trained = cast(Trained, self.trained_)
        for files in images:
            sample = trained.preprocessing.read_image(files)
            answer = trained.answer(sample)
            segmenting = self.task == "segmentation"
            yield trained.preprocessing.restore(answer, sample.geometry) if segmenting else answer

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "trained_")


class DimliftClassifier(ClassifierMixin, _Estimator):
    """A class for every volume. By default a lifted EfficientNet-Lite0 with ImageNet weights.

    Attributes:
        classes_: labels seen in `fit`, sorted.
        trained_: the trained network (`dimlift.Trained`): save it, push it, predict files with it.
    """

    task: Task = "classification"
    default: Mapping[str, Any] = {"method": "lifted", "network": "packaged:efficientnet_lite0"}

    def fit(self, X: ArrayLike | Sequence[Files], y: ArrayLike) -> Self:  # noqa: N803
        """Train.

        Args:
            X: (N, D, H, W) or (N, C, D, H, W), or a list of files.
            y: (N,) labels of any kind.

        Raises:
            DataError, ConfigError: if data or options cannot be used as they are.
        """
        with TemporaryDirectory() as scratch:
            images = _files(X, Path(scratch), self.spacing)
            truth = np.asarray(y)
            if truth.shape != (len(images),):
                raise DataError(f"y has the shape {truth.shape}, ({len(images)},) is wanted: one label for each volume")
            self.classes_, indices = np.unique(truth, return_inverse=True)
            labels = {str(label): index for index, label in enumerate(self.classes_)}
            self._fit(Path(scratch), images, [int(index) for index in indices], labels)
        return self

    def predict_proba(self, X: ArrayLike | Sequence[Files]) -> NDArray[np.float64]:  # noqa: N803
        """(N, classes) probabilities, in the order of `classes_`."""
        check_is_fitted(self, "trained_")
        with TemporaryDirectory() as scratch:
            logits = list(self._answers(_files(X, Path(scratch), self.spacing)))
        return softmax(np.stack(logits), axis=-1)

    def predict(self, X: ArrayLike | Sequence[Files]) -> NDArray[Any]:  # noqa: N803
        """(N,) labels."""
        chances = self.predict_proba(X)
        return self.classes_[chances.argmax(axis=1)]


class DimliftSegmenter(_Estimator):
    """A class for every voxel. By default the 3D U-Net with borrowed 2D features.

    Attributes:
        trained_: the trained network (`dimlift.Trained`): save it, push it, predict files with it.
    """

    task: Task = "segmentation"
    default: Mapping[str, Any] = {"method": "borrowed"}

    def fit(self, X: ArrayLike | Sequence[Files], y: ArrayLike | Sequence[str | Path]) -> Self:  # noqa: N803
        """Train.

        Args:
            X: (N, D, H, W) or (N, C, D, H, W), or a list of files.
            y: (N, D, H, W) whole numbers, 0 for background; or a list of mask files.

        Raises:
            DataError, ConfigError: if data or options cannot be used as they are.
        """
        with TemporaryDirectory() as scratch:
            images, masks = self._pairs(X, y, Path(scratch))
            labels = {str(value): value for value in label_values(masks)}
            self._fit(Path(scratch), images, masks, labels)
        return self

    def predict(self, X: ArrayLike | Sequence[Files]) -> NDArray[np.integer[Any]] | list[NDArray[np.integer[Any]]]:  # noqa: N803
        """Label maps: (N, D, H, W) for an array, a list of (i, j, k) on the files' own axes for files."""
        check_is_fitted(self, "trained_")
        with TemporaryDirectory() as scratch:
            found = list(self._answers(_files(X, Path(scratch), self.spacing)))
        return found if _are_files(X) else np.stack([labels.transpose() for labels in found])

    def score(self, X: ArrayLike | Sequence[Files], y: ArrayLike | Sequence[str | Path]) -> float:  # noqa: N803
        """Mean Dice over volumes and classes, where it is defined; NaN if nowhere."""
        check_is_fitted(self, "trained_")
        with TemporaryDirectory() as scratch:
            pairs = zip(*self._pairs(X, y, Path(scratch)), strict=True)
            cases = [Case(f"case_{n}", images, mask, "") for n, (images, mask) in enumerate(pairs)]
            found = main_score(score_cases(self.trained_, cases, None))
        return float("nan") if found is None else found[1]

    def _pairs(self, volumes: Any, answers: Any, folder: Path) -> tuple[list[tuple[Path, ...]], list[Path]]:
        images = _files(volumes, folder / "images", self.spacing)
        masks = [files[0] for files in _files(answers, folder / "masks", self.spacing, whole=True)]
        if len(images) != len(masks):
            raise DataError(f"X holds {len(images)} volumes, y {len(masks)} masks; give one mask for each volume")
        return images, masks


def _are_files(volumes: Any) -> bool:
    if isinstance(volumes, np.ndarray):
        return False
    return all(
        isinstance(first, str | Path) for x in volumes for first in ([x] if isinstance(x, str | Path) else x[:1])
    )


def _files(
    given: Any, folder: Path, spacing: tuple[float, float, float], whole: bool = False
) -> list[tuple[Path, ...]]:
    """Files of volumes: as they are, or arrays written as NIfTI, so that both take one path from here.

    Args:
        whole: the numbers are labels.

    Raises:
        DataError: if an array is not of volumes, or labels are not whole numbers.
    """
    if _are_files(given):
        return [(Path(x),) if isinstance(x, str | Path) else tuple(map(Path, x)) for x in given]
    array = np.asarray(given)
    axes = "(N, D, H, W)" if whole else "(N, D, H, W) or (N, C, D, H, W)"
    if array.ndim not in ((4,) if whole else (4, 5)) or 0 in array.shape:
        raise DataError(f"an array of shape {array.shape} holds no volumes; {axes} is wanted, or a list of files")
    if whole and not np.array_equal(array, np.rint(array)):
        raise DataError("masks hold numbers that are not whole; give class numbers, 0 for background")
    folder.mkdir(parents=True, exist_ok=True)
    volumes = array if array.ndim == 5 else array[:, None]
    affine = np.diag([*reversed(spacing), 1.0])
    written = []
    for number, volume in enumerate(volumes):
        files = tuple(folder / f"{number}_{channel:04d}.nii" for channel in range(len(volume)))
        for file, channel in zip(files, volume, strict=True):
            # (D, H, W) is (z, y, x); the axes of a file are (x, y, z)
            turned = channel.transpose().astype(np.int16 if whole else np.float32)
            nibabel.save(nibabel.Nifti1Image(turned, affine), file)
        written.append(files)
    return written


def _channels(files: tuple[Path, ...]) -> int:
    """Channels of a volume: its files, or the last axis of its only one."""
    if len(files) > 1:
        return len(files)
    array = read_file(files[0]).array
    return array.shape[3] if array.ndim == 4 else 1
