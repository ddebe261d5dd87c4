"""Training of a student on pseudo-labels: of voxels alone (`segmia`), or of voxels and classes (`multitask`)."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from dimlift.config.sections import DatasetSection
from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.sampling.augmentation import Augmentation
from dimlift.data.sampling.patch_sampler import PatchSampler
from dimlift.inference.predictor import Predictor
from dimlift.methods.self_training.multitask import Multitask
from dimlift.progress import Progress
from dimlift.records.weights import CARD_NAME
from dimlift.studies.run import load_run_data, torch_threads
from dimlift.studies.self_training.config import SelfTrainingConfig
from dimlift.studies.train import train
from dimlift.training.fit import fit

TrainStudent = Callable[[Path, Path], float]
"""Trains on a pseudo-labelled dataset, writes `weights/` to a folder, and returns the training time in seconds."""


def segmentation_student(config: SelfTrainingConfig, progress: Progress) -> TrainStudent:
    """Return a function that trains from the initial weights on pseudo-labels."""

    def train_student(pool: Path, out: Path) -> float:
        run = config.training_config(DatasetSection(path=str(pool), layout="nnunet"), fold=None)
        return train(run, out, progress).seconds

    return train_student


def multitask_student(config: SelfTrainingConfig, classes: Mapping[str, int], progress: Progress) -> TrainStudent:
    """Return a function that trains from the initial weights on pseudo-labels and on the class of every volume.

    Args:
        classes: class index of each volume by name.

    Raises:
        ConfigError: if the network has no encoder that a classification head can be attached to.
    """

    def train_student(pool: Path, out: Path) -> float:
        if (out / "weights" / CARD_NAME).is_file():
            return 0.0
        run = config.training_config(DatasetSection(path=str(pool), layout="nnunet"), fold=None)
        with torch_threads(config.training.num_threads):
            data = load_run_data(run, open_dataset(pool, "nnunet"), progress)
            training, task = run.loop, data.task
            with torch.random.fork_rng():
                torch.manual_seed(config.seed)
                method = run.arm.build(task)
                joint = Multitask(method, classes, len(set(classes.values())))
            sampler = PatchSampler(
                data.samples,
                task.patch_size,
                seed=config.seed,
                augment=Augmentation(mirror_axes=training.mirror_axes) if training.augment else False,
                oversample_foreground=training.oversample_foreground,
            )
            result = fit(
                joint,
                lambda step: sampler.batch(step, training.batch_size),
                budget=run.budget,
                training=training,
                seed=config.seed,
                arm="multitask",
                checkpoints=out / "checkpoints",
                progress=progress,
            )
            bfloat16 = training.precision == "bf16"
            predictor = Predictor(run.arm, task, data.preprocessing, method, training.sw_overlap, bfloat16)
            predictor.training_range = data.training_range
            predictor.save(out / "weights")
        return result.seconds

    return train_student
