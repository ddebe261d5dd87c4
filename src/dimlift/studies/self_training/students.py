"""Who learns from pseudo-labels: a student of voxels alone (`segmia`), or of voxels and classes (`multitask`)."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from dimlift.config.sections import DatasetSection
from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.sampling.augmentation import Augmentation
from dimlift.data.sampling.patch_sampler import PatchSampler
from dimlift.inference.predictor import Trained
from dimlift.methods.self_training.multitask import Multitask
from dimlift.progress import Progress
from dimlift.records.weights import CARD_NAME
from dimlift.studies.run import computing_threads, read_material
from dimlift.studies.self_training.config import StagesConfig
from dimlift.studies.train import train
from dimlift.training.fit import fit

Student = Callable[[Path, Path], float]
"""Learns from a pool, leaves `weights/` in a folder, and says how many seconds it took."""


def of_voxels(config: StagesConfig, progress: Progress) -> Student:
    """From the initial weights, on pseudo-labels."""

    def learn(pool: Path, out: Path) -> float:
        lesson = config.lesson(DatasetSection(path=str(pool), layout="nnunet"), fold=None)
        return train(lesson, out, progress).seconds

    return learn


def of_voxels_and_classes(config: StagesConfig, answers: Mapping[str, int], progress: Progress) -> Student:
    """From the initial weights, on pseudo-labels and the real class of every volume.

    Raises:
        ConfigError: if the network has no encoder to read classes off.
    """

    def learn(pool: Path, out: Path) -> float:
        if (out / "weights" / CARD_NAME).is_file():
            return 0.0
        lesson = config.lesson(DatasetSection(path=str(pool), layout="nnunet"), fold=None)
        with computing_threads(config.training.threads):
            material = read_material(lesson, open_dataset(pool, "nnunet"), progress)
            training, task = lesson.loop, material.task
            with torch.random.fork_rng():
                torch.manual_seed(config.seed)
                method = lesson.arm.build(task)
                joint = Multitask(method, answers, len(set(answers.values())))
            sampler = PatchSampler(
                material.samples,
                task.patch_size,
                seed=config.seed,
                augment=Augmentation(mirror_axes=training.mirror_axes) if training.augment else False,
                foreground_share=training.foreground_share,
            )
            result = fit(
                joint,
                lambda step: sampler.batch(step, training.batch_size),
                budget=lesson.budget,
                training=training,
                seed=config.seed,
                arm="multitask",
                checkpoints=out / "checkpoints",
                progress=progress,
            )
            bfloat16 = training.precision == "bf16"
            Trained(lesson.arm, task, material.preprocessing, method, training.overlap, bfloat16).save(out / "weights")
        return result.seconds

    return learn
