"""Volumes: patches of voxels in training, sliding windows in prediction, labels on the grid of the file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor

from dimlift.config.method_config import MethodConfig, TaskSpec
from dimlift.data.case import Case, Dataset
from dimlift.data.datasets.inference_inputs import find_inference_cases
from dimlift.data.io.readers import read_grid, read_volume
from dimlift.data.io.writers import LABEL_FORMATS, default_label_format, require_label_format
from dimlift.data.issue import Issue
from dimlift.data.preprocessing.input_facts import FileFacts, class_volumes, measure_volume, volume_facts
from dimlift.data.preprocessing.masks import read_mask
from dimlift.data.preprocessing.preprocessing import Preprocessing
from dimlift.data.preprocessing.sample import Geometry, Sample
from dimlift.data.preprocessing.training_range import InputFacts
from dimlift.data.quality.check_dataset import check_dataset
from dimlift.data.quality.content_hash import case_hashes
from dimlift.data.volume import Volume, voxel_sizes
from dimlift.data.voxel_checks import integer_labels
from dimlift.errors import DataError, ExportError
from dimlift.inference.averaged_crops import classify_volume
from dimlift.inference.coverage import Coverage
from dimlift.inference.memory_estimate import MemoryEstimate, estimate_memory
from dimlift.inference.modality.base import BatchSource, InputSample, Modality, RunData
from dimlift.inference.modality.patches import load_volumes, make_patches
from dimlift.inference.slice_weights import file_slice_weights
from dimlift.inference.sliding_window import labels_of_tiles, segment_volume
from dimlift.inference.streaming_window import OutputTile
from dimlift.losses.segmentation import set_class_weights
from dimlift.methods.method import Method
from dimlift.metrics.scores import score_segmentation
from dimlift.progress import Event, Progress
from dimlift.records.record import Score
from dimlift.training.distributed import ProcessGroup

if TYPE_CHECKING:
    from dimlift.inference.predictor import Predictor


class VolumeModality(Modality):
    """Volumes of voxels, with one file for each channel."""

    name = "volumes"
    plural = "volumes"
    section = "preprocessing"
    tasks = ("segmentation", "classification", "regression")
    class_axis = 0
    output_suffixes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        name: output.suffixes for name, output in LABEL_FORMATS.items()
    }
    prediction_suffix = ".nii.gz"

    def load_data(
        self,
        config: Any,
        dataset: Dataset,
        train: list[Case],
        test: list[Case],
        progress: Progress,
        group: ProcessGroup,
    ) -> RunData:
        """Fit preprocessing and read the training volumes into memory, or into `training.cache_dir`."""
        return load_volumes(config, dataset, train, test, progress, group)

    def build(self, arm: MethodConfig, task: TaskSpec) -> Method:
        """Build a method; class weights go into its Dice plus cross-entropy loss."""
        method = arm.build(task)
        if task.kind == "segmentation" and task.class_weights is not None:
            set_class_weights(method, task.class_weights)
        return method

    def content_hashes(self, case: Case) -> list[str]:
        """Return the hash of the voxels of each image."""
        return case_hashes(case)

    def make_batches(
        self, config: Any, data: RunData, method: Method, cache: Path, progress: Progress, group: ProcessGroup
    ) -> BatchSource:
        """Return random patches, with the features the method needs beside them."""
        return make_patches(config, data, method, cache, progress, group)

    def load_preprocessing(self, content: dict[str, Any]) -> Preprocessing:
        """Return the preprocessing stored in a weights card."""
        return Preprocessing.from_json(content)

    def describe_inputs(self, preprocessing: Preprocessing) -> dict[str, Any]:
        """Return channels, spacing, orientation and normalisation."""
        return {
            "channels": list(preprocessing.channels),
            "spacing": preprocessing.spacing,
            "orientation": "RAS",
            "normalisation": [rule.to_json() for rule in preprocessing.normalisation],
        }

    def predict(self, predictor: "Predictor", sample: Sample, coverage: Coverage | None = None) -> NDArray[Any]:
        """Return the class index of every voxel, (D, H, W), tile by tile; for other tasks the logits, (classes,)."""
        if predictor.task.kind == "segmentation":
            return labels_of_tiles(self._tiles(predictor, sample, coverage), sample.image.shape[1:])
        return classify_volume(
            predictor.method,
            torch.from_numpy(sample.image),
            crop=predictor.task.patch_size,
            kind=predictor.task.kind,
            bfloat16=predictor.bfloat16,
            case=sample.name,
            coverage=coverage,
        ).numpy()

    def predict_proba(self, predictor: "Predictor", sample: Sample, coverage: Coverage | None = None) -> NDArray[Any]:
        """Return probabilities (classes, D, H, W), all in memory; for a classification (classes,)."""
        if predictor.task.kind != "segmentation":
            return softmax(self.predict(predictor, sample, coverage), axis=-1)
        found = np.zeros((predictor.task.num_classes, *sample.image.shape[1:]), np.float32)
        for tile in self._tiles(predictor, sample, coverage):
            found[:, tile.depth, tile.height] = tile.logits.softmax(dim=0).numpy()
        return found

    def measure_file(self, content: Volume) -> FileFacts:
        """Return the grid and the percentiles of each channel."""
        return measure_volume(content)

    def input_facts(self, preprocessing: Preprocessing, files: Sequence[FileFacts | None]) -> InputFacts:
        """Return spacing, extent, orientation and intensities of a case."""
        return volume_facts(files, preprocessing.channels, preprocessing.slice_axis)

    def class_volumes(self, preprocessing: Preprocessing, labels: NDArray[Any], sample: Sample) -> dict[str, float]:
        """Return millilitres of each class, measured on the grid of the network."""
        return class_volumes(labels, preprocessing.class_indices, sample.geometry.spacing)

    def _tiles(self, predictor: "Predictor", sample: Sample, coverage: Coverage | None = None) -> Iterator[OutputTile]:
        method = predictor.method
        return segment_volume(
            method,
            torch.from_numpy(sample.image),
            window=predictor.task.patch_size,
            overlap=predictor.overlap,
            features=predictor.arm.extra_inputs(method, sample, predictor.cache),
            feature_stride=method.feature_stride,
            bfloat16=predictor.bfloat16,
            case=sample.name,
            coverage=coverage,
        )

    def explain(self, predictor: "Predictor", sample: Sample) -> dict[str, Any]:
        """Return the weight of each slice of the file, for networks that weigh slices."""
        weights = file_slice_weights(predictor.method, sample, predictor.task.patch_size)
        if weights is None:
            return {}
        axis, shares = weights
        return {"slices": {"axis": axis, "most": int(np.argmax(shares)), "weights": shares}}

    def find_inference_cases(
        self, preprocessing: Preprocessing, inputs: Sequence[Path | str], on_skip: Callable[[Issue], None] | None = None
    ) -> list[Case]:
        """Return the cases among images, DICOM series and folders, with names and channels as in the training set."""
        options = preprocessing.channels, preprocessing.missing, preprocessing.numbered_files
        return find_inference_cases(inputs, *options, on_skip)

    def read_file(self, path: Path) -> Volume:
        """Read one image file or DICOM series."""
        return read_volume(path)

    def file_bytes(self, content: Volume) -> int:
        """Return the bytes of the voxels."""
        return content.array.nbytes

    def from_array(self, array: NDArray[Any], spacing: Sequence[float] | None) -> Volume:
        """Return (D, H, W) or (C, D, H, W) as a volume whose axes run along z, y and x.

        Args:
            spacing: (z, y, x) in millimetres; 1 if None.
        """
        voxels = array.transpose() if array.ndim == 3 else array.transpose(3, 2, 1, 0)
        return Volume(voxels.astype(np.float32), np.diag([*reversed(spacing or (1.0, 1.0, 1.0)), 1.0]), Path("array"))

    def read_input(
        self, preprocessing: Preprocessing, images: Sequence[Path], read: Callable[[Path], Any]
    ) -> InputSample:
        """Preprocess the images of one case."""
        sample = preprocessing.read_image(images, read)
        return InputSample(sample, sample.geometry)

    def check_inputs(
        self, members: "Sequence[Predictor]", cases: Sequence[Case], read: Callable[[Path], Any], progress: Progress
    ) -> list[Issue]:
        """Check every input as `dimlift check` does."""
        preprocessing = members[0].preprocessing
        dataset = Dataset(
            "inputs", Path(), (), preprocessing.channels, preprocessing.labels, members[0].task.kind,
            test_cases=tuple(cases),
        )  # fmt: skip
        return check_dataset(
            dataset,
            preprocessing.nan_policy,
            lambda done, total: progress(Event("check", fraction=done / total)),
            num_workers=1,
            missing=preprocessing.missing,
            read=read,
        )

    def estimate_memory(
        self, predictor: "Predictor", cases: Sequence[Case], on_error: Callable[[Case, DataError], None]
    ) -> list[MemoryEstimate]:
        """Return the memory that segmenting each volume takes; other tasks read a volume in one piece."""
        if predictor.task.kind != "segmentation":
            return []
        grids = {}
        for case in cases:
            try:
                found = [read_grid(file) for file in case.images if file.exists()]
                predictor.preprocessing.geometry(found[0].shape[:3], found[0].affine, path=case.images[0])
                grids[case.name] = found
            except DataError as error:
                on_error(case, error)
        return estimate_memory(predictor, grids) if grids else []

    def default_format(self, case: Case) -> str:
        """Return the format of the image; of a DICOM series, a DICOM segmentation."""
        return default_label_format(case.images[0])

    def require_format(self, name: str, case: Case) -> None:
        """Raises: DataError, for a DICOM output of an image that is no DICOM series."""
        require_label_format(name, case.images[0])

    def restore(self, preprocessing: Preprocessing, labels: NDArray[Any], source: Geometry) -> NDArray[Any]:
        """Return label values on the voxel grid and axes of the file."""
        return preprocessing.restore(labels, source)

    def write_labels(
        self, preprocessing: Preprocessing, path: Path, labels: NDArray[Any], source: Geometry, output_format: str
    ) -> Path:
        """Write a label map on the grid of the file."""
        return preprocessing.write(path, labels, source, output_format)

    def write_prediction(
        self, preprocessing: Preprocessing, path: Path, labels: NDArray[Any], source: Geometry
    ) -> Path:
        """Write a label map on the grid of the file."""
        return preprocessing.write(path, labels, source)

    def compare_labels(self, predictor: "Predictor", case: Case, labels: NDArray[Any], source: Geometry) -> list[Score]:
        """Return the scores of a label map on the grid and in the millimetres of the file; none without a mask."""
        if not isinstance(case.label, Path):
            return []
        preprocessing = predictor.preprocessing
        mask = read_mask(case.label, read_grid(case.images[0]), preprocessing.resample_labels)
        return score_segmentation(
            case.name,
            preprocessing.restore(labels, source),
            integer_labels(mask),
            preprocessing.labels,
            voxel_sizes(mask.affine).tolist(),
            preprocessing.ignore,
        )

    def segmentation_scores(self, preprocessing: Preprocessing, results: Mapping[str, list[Score]]) -> list[Score]:
        """Return the scores of all cases, one after the other."""
        return [score for scores in results.values() for score in scores]

    def export_example(self, predictor: "Predictor") -> Tensor:
        """Return two random patches.

        Raises:
            ExportError: if the method needs more than the image.
        """
        if type(predictor.arm).extra_inputs is not MethodConfig.extra_inputs:
            raise ExportError(
                f"{predictor.arm.method} needs 2D features beside the image, which a single network cannot hold; use "
                "`dimlift predict`, or export a method that takes the image alone (unet, slicewise, lifted, ...)"
            )
        shape = (2, predictor.task.in_channels, *predictor.task.patch_size)
        return torch.randn(shape, generator=torch.Generator().manual_seed(0))
