"""Point clouds: random points in training, tiles over all points in prediction, labels in the order of the file."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dimlift.config.method_config import TaskSpec
from dimlift.data.case import Case, Dataset
from dimlift.data.datasets.point_cloud_index import load_entry
from dimlift.data.datasets.point_cloud_set import PointCloudSet, points_hash
from dimlift.data.datasets.splits import balanced_class_weights, require_classes
from dimlift.data.io.point_cloud import PointCloud
from dimlift.data.io.point_cloud_writer import write_point_labels
from dimlift.data.issue import Issue, issue_from_error
from dimlift.data.preprocessing.input_facts import point_cloud_facts
from dimlift.data.preprocessing.point_clouds import PointCloudPreprocessing, PointCloudSample
from dimlift.data.preprocessing.training_range import InputFacts
from dimlift.data.sampling.point_cloud_sampler import PointCloudSampler, identity
from dimlift.data.sampling.point_cloud_tiling import tile_point_cloud
from dimlift.errors import ConfigError, DataError, ExportError
from dimlift.inference.coverage import Coverage
from dimlift.inference.finite_outputs import require_finite
from dimlift.inference.modality.base import BatchSource, InputSample, Modality, RunData
from dimlift.inference.modality.point_cloud_inputs import find_point_clouds
from dimlift.methods.method import Method
from dimlift.methods.point_networks.base import NUM_COORDINATES, PointEncoderConfig
from dimlift.metrics.points import Confusion, confusion_matrix, score_points
from dimlift.progress import Event, Progress
from dimlift.records.atomic_write import atomic_write
from dimlift.records.record import Score
from dimlift.training.distributed import ProcessGroup

if TYPE_CHECKING:
    from dimlift.inference.predictor import Predictor

TILES_PER_BATCH = 8


class PointCloudModality(Modality):
    """Point clouds with a class for each cloud, or for each of its points."""

    name = "point_clouds"
    plural = "point clouds"
    section = "point_clouds"
    tasks = ("segmentation", "classification")
    inapplicable = (
        "patch_size", "oversample_foreground", "mirror_axes", "channel_dropout", "sw_overlap", "cache_dir",
        "gradient_checkpointing",
    )  # fmt: skip
    class_axis = -1
    output_suffixes: ClassVar[Mapping[str, tuple[str, ...]]] = {"ply": (".ply",), "npz": (".npz",)}
    prediction_suffix = ".npz"

    def load_data(
        self,
        config: Any,
        dataset: Dataset,
        train: list[Case],
        test: list[Case],
        progress: Progress,
        group: ProcessGroup,
    ) -> RunData:
        """Fit preprocessing and read the training point clouds.

        Raises:
            DataError: if a class never occurs in the training point clouds, or one lacks a column.
            ConfigError: if there is not one class weight for each class.
        """
        options = config.point_clouds
        preprocessing = PointCloudPreprocessing.fit(
            dataset,
            train,
            normalise=options.normalise,
            features=options.features,
            num_points=options.num_points,
            crop_radius=options.crop_radius,
        )
        samples = []
        for number, case in enumerate(train):
            samples.append(preprocessing.read(case))
            progress(Event("read", config.name, (number + 1) / len(train)))
        classes = {name: index for index, name in enumerate(dataset.labels)}
        require_classes(samples, classes)
        weights = config.training.class_weights
        if weights == "balanced":
            weights = balanced_class_weights(samples, len(classes))
        elif weights is not None and len(weights) != len(classes):
            raise ConfigError(
                f"training.class_weights holds {len(weights)} numbers for {len(classes)} classes; give one for each, "
                f"in the order {', '.join(classes)}"
            )
        task = TaskSpec(
            kind=config.task,
            in_channels=NUM_COORDINATES + preprocessing.channels,
            num_classes=len(classes),
            spacing=None,
            patch_size=(0, 0, 0),
            seed=config.init_seed,
            class_weights=weights,
        )
        facts: dict[str, Any] = {"num_points": options.num_points}
        if dataset.skipped:
            facts |= {"corrupt_files": len(dataset.skipped), "left_out": list(dataset.skipped)}
        return RunData(train, test, preprocessing, samples, task, facts)

    def content_hashes(self, case: Case) -> list[str]:
        """Return the hash of the points, whatever file they are in."""
        return [points_hash(load_entry(case.images[0], case.columns).points)]

    def make_batches(
        self, config: Any, data: RunData, method: Method, cache: Path, progress: Progress, group: ProcessGroup
    ) -> BatchSource:
        """Return batches of random points.

        Raises:
            DataError: if a point cloud has fewer points than a group of the network.
        """
        samples, options, training = data.samples, config.point_clouds, config.loop
        segmenting = data.task.kind == "segmentation"
        if isinstance(config.arm, PointEncoderConfig) and options.crop_radius is None:
            config.arm.require_points({sample.name: len(sample.points) for sample in samples})
        labels = tuple(sample.label for sample in samples)
        clouds = PointCloudSet(
            tuple(sample.points for sample in samples),
            tuple(sample.name for sample in samples),
            labels=() if segmenting else labels,
            point_labels=labels if segmenting else (),
            features=() if samples[0].features is None else tuple(sample.features for sample in samples),
        )
        sampler = PointCloudSampler(
            clouds,
            options.num_points,
            seed=config.init_seed,
            augment=training.augment,
            rotation=options.rotation,
            up_axis="xyz".index(options.up_axis),
            normalise=identity,
            crop_radius=options.crop_radius,
        )
        local = group.local_range(training.batch_size)
        return BatchSource(
            lambda step: sampler.batch(step, training.batch_size, local),
            lambda step: sampler.cases(step, training.batch_size),
        )

    def load_preprocessing(self, content: dict[str, Any]) -> PointCloudPreprocessing:
        """Return the preprocessing stored in a weights card."""
        return PointCloudPreprocessing.from_json(content)

    def describe_inputs(self, preprocessing: PointCloudPreprocessing) -> dict[str, Any]:
        """Return the columns of a point, in the frame of the files."""
        channels = ["points", *preprocessing.features]
        return {"channels": channels, "spacing": None, "orientation": "that of the files", "normalisation": []}

    def predict(
        self, predictor: "Predictor", sample: PointCloudSample, coverage: Coverage | None = None
    ) -> NDArray[Any]:
        """Return the class index of every point, (N,); for a classification the probabilities, (classes,)."""
        found = self.predict_proba(predictor, sample, coverage)
        return found.argmax(axis=-1) if predictor.task.kind == "segmentation" else found

    @torch.inference_mode()
    def predict_proba(
        self, predictor: "Predictor", sample: PointCloudSample, coverage: Coverage | None = None
    ) -> NDArray[Any]:
        """Return probabilities (N, classes), points in the order of the file; for a classification (classes,)."""
        method, preprocessing = predictor.method.eval(), predictor.preprocessing
        device = next(method.parameters()).device
        segmenting = predictor.task.kind == "segmentation"
        tiles = list(tile_point_cloud(sample.points, preprocessing.num_points, preprocessing.crop_radius))
        tiles = tiles if segmenting else tiles[:1]
        total = np.zeros((len(sample.points), predictor.task.num_classes), np.float32)
        for first in range(0, len(tiles), TILES_PER_BATCH):
            some = tiles[first : first + TILES_PER_BATCH]
            points = np.stack([sample.points[rows] - centre for rows, centre in some])
            columns = None if sample.features is None else np.stack([sample.features[rows] for rows, _ in some])
            features = None if columns is None else torch.from_numpy(columns).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=predictor.bfloat16):
                logits = method(torch.from_numpy(points).to(device), features)
            require_finite(logits, sample.name)
            probabilities = logits.float().softmax(dim=-1).cpu().numpy()
            if not segmenting:
                if coverage is not None:
                    coverage.windows, coverage.total = 1, len(sample.points)
                    coverage.predicted = len(np.unique(some[0][0]))
                return probabilities[0]
            for (rows, _), found in zip(some, probabilities, strict=True):
                np.add.at(total, rows, found)  # a tile may hold a point twice
        if coverage is not None:
            coverage.windows, coverage.total = len(tiles), len(sample.points)
            coverage.predicted = int((total.sum(axis=1) > 0).sum())
        return total / total.sum(axis=1, keepdims=True)

    def measure_file(self, content: PointCloud) -> InputFacts:
        """Return number, extent and columns of the points."""
        return point_cloud_facts(content)

    def input_facts(self, preprocessing: PointCloudPreprocessing, files: Sequence[InputFacts]) -> InputFacts:
        """Return those of the one file."""
        return files[0]

    def find_inference_cases(
        self,
        preprocessing: PointCloudPreprocessing,
        inputs: Sequence[Path | str],
        on_skip: Callable[[Issue], None] | None = None,
    ) -> list[Case]:
        """Return the point clouds among files and folders of files."""
        return find_point_clouds(inputs)

    def read_file(self, path: Path) -> PointCloud:
        """Read one point cloud, or one entry of a file of many."""
        return load_entry(path)

    def file_reader(self, preprocessing: PointCloudPreprocessing) -> Callable[[Path], PointCloud]:
        """Return a reader that knows the columns of the training point clouds."""
        return partial(load_entry, columns=preprocessing.columns)

    def file_bytes(self, content: PointCloud) -> int:
        """Return the bytes of the points and their columns."""
        return content.nbytes

    def from_array(self, array: NDArray[Any], spacing: Sequence[float] | None) -> PointCloud:
        """Return (N, 3) coordinates as a point cloud."""
        return PointCloud(np.asarray(array, np.float64), path=Path("array"))

    def read_input(
        self, preprocessing: PointCloudPreprocessing, images: Sequence[Path], read: Callable[[Path], Any]
    ) -> InputSample:
        """Preprocess one point cloud."""
        cloud = read(images[0])
        return InputSample(preprocessing.prepare(cloud), cloud)

    def check_inputs(
        self, members: "Sequence[Predictor]", cases: Sequence[Case], read: Callable[[Path], Any], progress: Progress
    ) -> list[Issue]:
        """Read every point cloud and preprocess it for every member."""
        issues = []
        for number, case in enumerate(cases):
            try:
                cloud = read(case.images[0])
                for member in members:
                    member.preprocessing.prepare(cloud)
            except DataError as error:
                issues.append(issue_from_error(error, case.images[0]))
            progress(Event("check", fraction=(number + 1) / len(cases)))
        return issues

    def default_format(self, case: Case) -> str:
        """Return "ply" for a .ply file, else "npz"."""
        return "ply" if case.images[0].suffix.lower() == ".ply" else "npz"

    def restore(self, preprocessing: PointCloudPreprocessing, labels: NDArray[Any], source: PointCloud) -> NDArray[Any]:
        """Return the label value of every point."""
        return preprocessing.to_file_labels(labels)

    def write_labels(
        self,
        preprocessing: PointCloudPreprocessing,
        path: Path,
        labels: NDArray[Any],
        source: PointCloud,
        output_format: str,
    ) -> Path:
        """Write the points of the file with a label each."""
        return write_point_labels(path, source.points, preprocessing.to_file_labels(labels))

    def write_prediction(
        self, preprocessing: PointCloudPreprocessing, path: Path, labels: NDArray[Any], source: PointCloud
    ) -> Path:
        """Write the labels without the points."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as scratch, scratch.open("wb") as stream:
            np.savez_compressed(stream, labels=preprocessing.to_file_labels(labels))
        return path

    def compare_labels(self, predictor: "Predictor", case: Case, labels: NDArray[Any], source: PointCloud) -> Confusion:
        """Return the confusion matrix over the points.

        Raises:
            DataError: if the points have no labels.
        """
        if source.labels is None:
            raise DataError(f"{case.images[0]} has no labels of its points; add them, or remove the file")
        return confusion_matrix(
            labels, predictor.preprocessing.to_class_indices(source.labels), predictor.task.num_classes
        )

    def segmentation_scores(
        self, preprocessing: PointCloudPreprocessing, results: Mapping[str, Confusion]
    ) -> list[Score]:
        """Return IoU and accuracy of each point cloud, and the mean IoU over all points."""
        return score_points(list(results), list(results.values()), preprocessing.labels)

    def export_example(self, predictor: "Predictor") -> Tensor:
        """Raises: ExportError, always."""
        raise ExportError(
            f"{predictor.arm.method} is a network of points, which searches neighbours in every point cloud, and ONNX "
            "has no operator for that; use `dimlift predict`"
        )
