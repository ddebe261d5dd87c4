"""Data of a pretraining: files are found and checked first, then read."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dimlift.config.method_config import TaskSpec
from dimlift.config.pretraining_config import FrameData, PretrainingData
from dimlift.data.case import Case
from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.datasets.point_cloud_index import array_class_names
from dimlift.data.datasets.point_cloud_set import PointCloudSet, load_entries
from dimlift.data.datasets.point_clouds import readable_entries
from dimlift.data.io.image_file import require_readable_images
from dimlift.data.io.images import ImageFolder, find_images, split_images
from dimlift.data.issue import raise_on_errors
from dimlift.data.preprocessing.preprocessing import Preprocessing
from dimlift.data.quality.check_dataset import check_dataset
from dimlift.data.quality.content_hash import case_hashes
from dimlift.data.rgbd.frames import readable_frames
from dimlift.data.rgbd.recordings import FrameFiles, find_recordings
from dimlift.data.sampling.point_cloud_sampler import PointCloudSampler
from dimlift.errors import DataError
from dimlift.inference.modality.patches import auto_patch_size
from dimlift.methods.point_networks.base import PointEncoderConfig
from dimlift.progress import Event, Progress, no_progress
from dimlift.studies.pretrain_config import PretrainConfig
from dimlift.studies.split import held_out_cases
from dimlift.training.initialise import file_digest


@dataclass(frozen=True)
class PretrainingFiles:
    """Checked files of a pretraining.

    Attributes:
        cases: volumes, without labels.
        images: training images.
        frames: RGB-D frames.
        point_clouds: point clouds, read.
        left_out: one sentence for each frame or point cloud that cannot be read.
    """

    cases: list[Case]
    images: ImageFolder | None
    frames: list[FrameFiles]
    point_clouds: PointCloudSet | None
    left_out: list[str]

    def case_digests(self) -> list[str]:
        """Return the content hashes of volumes and point clouds, which a later study must not test on."""
        digests = [digest for case in self.cases for digest in case_hashes(case)]
        return digests + (self.point_clouds.point_hashes() if self.point_clouds else [])

    def file_digests(self) -> tuple[list[str], list[str]]:
        """Return the content hashes of images, and of frames."""
        images = [file_digest(path) for path in self.images.paths] if self.images is not None else []
        return images, [file_digest(path) for frame in self.frames for path in (frame.colour, frame.depth)]

    def facts(self) -> dict[str, Any]:
        """Return the entries of the run record."""
        facts: dict[str, Any] = {"volumes": len(self.cases), "images": len(self.images.paths) if self.images else 0}
        facts |= {"frames": len(self.frames), "point_clouds": len(self.point_clouds or ())}
        if self.frames:
            facts["registration"] = self.frames[0].rig.registration
        if self.left_out:
            facts |= {"corrupt_files": len(self.left_out), "left_out": self.left_out}
        return facts


def find_files(config: PretrainConfig, progress: Progress = no_progress) -> PretrainingFiles:
    """Find and check all files of a pretraining.

    Raises:
        DataError: if there is no data, or a file cannot be used.
    """
    cases = find_cases(config, progress)
    images = find_training_images(config)
    frames, left_out_frames = find_frame_files(config)
    point_clouds, left_out = read_training_point_clouds(config)
    return PretrainingFiles(cases, images, frames, point_clouds, left_out_frames + left_out)


def find_cases(config: PretrainConfig, progress: Progress = no_progress) -> list[Case]:
    """Return the volumes to train on, checked, without labels and without the test cases of the split.

    Raises:
        DataError: if there are none, or a file cannot be used.
    """
    if config.dataset is None or config.pretraining.needs_point_clouds:
        return []
    dataset = open_dataset(config.dataset.path, config.dataset.layout, config.task)
    test_groups = (
        set() if config.split is None else {c.group for c in held_out_cases(dataset, config.split, config.fold)}
    )
    cases = [replace(case, label=None) for case in dataset.cases if case.group not in test_groups]
    if not cases:
        raise DataError(f"{config.dataset.path} has no training volume left; lower split.num_test")

    def on_progress(done: int, total: int) -> None:
        progress(Event("check", fraction=done / max(total, 1)))

    unlabelled = replace(dataset, cases=(), test_cases=tuple(cases))  # test cases need no labels
    options = config.preprocessing
    raise_on_errors(check_dataset(unlabelled, options.nan_policy, on_progress, missing=options.missing_channels))
    return cases


def find_training_images(config: PretrainConfig) -> ImageFolder | None:
    """Return the images to train on, without the validation images, each decoded once.

    Raises:
        DataError: if there are none, or one cannot be decoded.
    """
    if config.images is None:
        return None
    images = find_images(config.images.path)
    require_readable_images(images.paths)
    return split_images(images, config.images.num_val_images)[0]


def read_training_point_clouds(config: PretrainConfig) -> tuple[PointCloudSet | None, list[str]]:
    """Return the point clouds to train on, without the test cases of the split, and one sentence for each left out.

    Raises:
        DataError: if there are none, one is too small for the arm, or a file cannot be used.
    """
    section = config.dataset
    if section is None or not config.pretraining.needs_point_clouds:
        return None, []
    entries, left_out = readable_entries(section.path, section.skip_corrupt, config.point_clouds.columns)
    classes = array_class_names(Path(section.path))
    if config.split is not None:
        dataset = open_dataset(
            section.path, section.layout, config.task, section.skip_corrupt, config.point_clouds.columns
        )
        test_groups = {case.group for case in held_out_cases(dataset, config.split, config.fold)}
        entries = [entry for entry, case in zip(entries, dataset.cases, strict=True) if case.group not in test_groups]
        classes = tuple(dataset.labels)
    if not entries:
        raise DataError(f"{section.path} has no training point cloud left; lower split.num_test")
    try:
        point_clouds = load_entries(entries, classes)
    except DataError as error:
        raise type(error)(f"{error} (--skip-corrupt leaves such point clouds out and counts them)") from error
    if isinstance(config.arm, PointEncoderConfig):
        config.arm.require_points(dict(zip(point_clouds.names, map(len, point_clouds.point_clouds), strict=True)))
    return point_clouds, left_out


def find_frame_files(config: PretrainConfig) -> tuple[list[FrameFiles], list[str]]:
    """Return the RGB-D frames to train on, and one sentence for each left out.

    Raises:
        DataError: at the first frame that cannot be read, unless `frames.skip_corrupt` is set.
    """
    section = config.frames
    if section is None:
        return [], []
    frames = find_recordings(section.path)
    selected = frames[section.first_frame :: section.frame_step][: section.max_frames]
    if not selected:
        raise DataError(
            f"{section.path} holds {len(frames)} frames, none from frame {section.first_frame} on; lower "
            "frames.first_frame"
        )
    return readable_frames(selected, section.skip_corrupt)


def load_data(
    config: PretrainConfig, files: PretrainingFiles, cache: Path, progress: Progress = no_progress
) -> tuple[PretrainingData, Preprocessing | None]:
    """Read the data of a pretraining; preprocessing is fitted on the volumes."""
    samples, preprocessing = [], None
    if config.dataset is not None and not config.pretraining.needs_point_clouds:
        dataset = open_dataset(config.dataset.path, config.dataset.layout, config.task)
        options = config.preprocessing
        preprocessing = Preprocessing.fit(
            dataset, files.cases, options.spacing, options.modality, options.nan_policy,
            windows=options.windows, missing=options.missing_channels,
        )  # fmt: skip
        for number, case in enumerate(files.cases):
            samples.append(preprocessing.read(case))
            progress(Event("read", config.pretraining.method, (number + 1) / len(files.cases)))
    patch_size: Any = config.training.patch_size
    if patch_size == "auto":
        side = config.images.size if config.images else 0
        patch_size = auto_patch_size([s.image.shape[1:] for s in samples]) if samples else (3, side, side)
    task = TaskSpec(
        kind=config.task,
        in_channels=len(preprocessing.normalisation) if preprocessing else 1,
        num_classes=max(2, len(files.images.classes)) if files.images else 2,
        spacing=preprocessing.typical_spacing if preprocessing else None,
        patch_size=config.arm.training_patch_size(patch_size) if config.arm else patch_size,
        seed=config.seed,
        gradient_checkpointing=config.training.gradient_checkpointing,
    )
    data = PretrainingData(
        task,
        samples,
        files.images,
        config.loop,
        config.seed,
        cache,
        _frame_data(config, files),
        _point_cloud_sampler(config, files),
    )
    return data, preprocessing


def _frame_data(config: PretrainConfig, files: PretrainingFiles) -> FrameData | None:
    section = config.frames
    if section is None:
        return None
    up_axis = "xyz".index(config.point_clouds.up_axis)
    return FrameData(tuple(files.frames), section.stride, section.tolerance, section.num_pairs, up_axis)


def _point_cloud_sampler(config: PretrainConfig, files: PretrainingFiles) -> PointCloudSampler | None:
    section = config.point_clouds
    if files.point_clouds is None:
        return None
    return PointCloudSampler(
        files.point_clouds,
        section.num_points,
        seed=config.seed,
        augment=config.training.augment,
        rotation=section.rotation,
        up_axis="xyz".index(section.up_axis),
    )
