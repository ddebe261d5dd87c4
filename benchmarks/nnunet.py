"""nnU-Net's trainer and nnUNetTrainerDimlift on 8 labelled hippocampus volumes, with equal iterations on a CPU.

    pip install 'dimlift[nnunet]'
    python -m dimlift.integrations.nnunet
    python benchmarks/nnunet.py --iterations 1000 --seeds 0,1

Planning, preprocessing, augmentation, loss, schedule and inference are nnU-Net's. For speed on a CPU, the plans are
reduced to two patches of 24 x 32 x 24 voxels and a quarter of the channels at every level, and volumes are predicted
without mirroring (nnU-Net's `--disable_tta`). Each seed samples its training volumes and is one fold of nnU-Net's
`splits_final.json`; the same 30 volumes are its validation cases, predicted by nnU-Net after training and scored by
dimlift. An interrupted benchmark resumes from the last checkpoint. The table is written to docs/results.md.
"""

import argparse
import json
import os
import random
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch

from dimlift.backbones.torchvision_ops import ensure_torchvision_imports
from dimlift.data.case import Case
from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.records.record import write_json
from dimlift.studies.load_config import parse
from dimlift.studies.run_config import StudyConfig
from dimlift.studies.split import split_cases
from hippocampus import ROOT, run_study

NUMBER, NAME, CONFIGURATION = 501, "Dataset501_Hippocampus", "3d_fullres"
TRAINERS = {"nnunet": "nnUNetTrainer", "dimlift": "nnUNetTrainerDimlift"}
EPOCH = 100
"""Iterations between two checkpoints."""
CPU_SECONDS = "cpu_seconds.json"
BATCH, PATCH, CHANNELS = 2, [24, 32, 24], 0.25
"""Changes of the plans: patches per batch, their size, and the fraction of the channels that is kept."""


def main() -> None:
    """Execute the missing trainings and predictions, then write the table."""
    options = arguments()
    os.chdir(ROOT)
    home = options.out.resolve()
    results = home / f"iterations-{options.iterations}"
    for kind, path in (("raw", home / "raw"), ("preprocessed", home / "preprocessed"), ("results", results)):
        os.environ[f"nnUNet_{kind}"] = str(path)
        path.mkdir(parents=True, exist_ok=True)
    os.environ.update(nnUNet_n_proc_DA="1", nnUNet_def_n_proc="1")
    torch.set_num_threads(1)
    ensure_torchvision_imports()
    seeds = [int(text) for text in options.seeds.split(",")]
    study = study_config(options, results, seeds)
    prepare(study, home)
    os.environ.update(nnUNet_n_proc_DA="0")  # augmentation in this process; planning needs at least 1
    for seed in seeds:
        for trainer in TRAINERS.values():
            train(trainer, seed, results, options.iterations)
    run_study(study, results / "study", list(study.arms), f"steps:{options.iterations}", "nnunet")


def arguments() -> argparse.Namespace:
    """Return the command line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--iterations", type=int, default=1000, help=f"iterations of each training, a multiple of {EPOCH}"
    )
    parser.add_argument("--seeds", default="0,1", help="consecutive, starting at 0")
    parser.add_argument("--labelled", type=int, default=8)
    parser.add_argument("--data", default="../shared/data/hippocampus", help="folder with images/ and labels/")
    parser.add_argument("--out", type=Path, default=Path("runs/nnunet"))
    return parser.parse_args()


def study_config(options: argparse.Namespace, results: Path, seeds: list[int]) -> StudyConfig:
    """Return a study whose arms are nnU-Net's predictions."""

    def external_predictions(trainer: str) -> str:
        return str(results / NAME / f"{trainer}__nnUNetPlans__{CONFIGURATION}" / "fold_{seed}" / "validation")

    arms = {
        "nnunet": {"title": "nnUNetTrainer", "external": external_predictions(TRAINERS["nnunet"])},
        "dimlift": {"title": "nnUNetTrainerDimlift", "external": external_predictions(TRAINERS["dimlift"])},
    }
    raw = {
        "title": f"nnU-Net's trainers, {options.labelled} training volumes of the hippocampus",
        "dataset": {"path": options.data},
        "split": {"num_test": 30, "subset_seed": "run"},
        "train_counts": [options.labelled],
        "seeds": seeds,
        "budget": {"steps": options.iterations},
        "arms": {name: {"method": "external", **arm} for name, arm in arms.items()},
        "reference": "nnunet",
    }
    study = parse(raw, StudyConfig, source="benchmarks/nnunet.py")
    return study.model_copy(update={"arms": {name: study.arms[name] for name in arms}})  # without the default baseline


def prepare(study: StudyConfig, home: Path) -> None:
    """Write a dataset for nnU-Net with the required cases; plan, preprocess and split it."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api

    splits: list[dict[str, list[str]]] = []
    cases: dict[str, Case] = {}
    dataset = open_dataset(study.dataset.path, study.dataset.layout)
    for seed in range(max(study.seeds) + 1):
        subsets = split_cases(dataset, study.run_config("nnunet", train_size=study.train_sizes[0], fold=0, seed=seed))
        cases |= {case.name: case for subset in subsets for case in subset}
        splits.append(
            {name: [case.name for case in part] for name, part in zip(("train", "val"), subsets, strict=True)}
        )
    preprocessed = home / "preprocessed" / NAME
    splits_file = preprocessed / "splits_final.json"
    if splits_file.is_file() and json.loads(splits_file.read_text())[: len(splits)] == splits:
        return
    splits_file.unlink(missing_ok=True)
    write_raw(home / "raw" / NAME, cases, dataset.labels)
    api.extract_fingerprints([NUMBER], num_processes=1, show_progress_bar=False)
    api.plan_experiments([NUMBER])
    plans = json.loads((preprocessed / "nnUNetPlans.json").read_text())
    chosen = plans["configurations"][CONFIGURATION]
    widths = chosen["architecture"]["arch_kwargs"]["features_per_stage"]
    chosen["architecture"]["arch_kwargs"]["features_per_stage"] = [int(CHANNELS * width) for width in widths]
    chosen |= {"batch_size": BATCH, "patch_size": PATCH}
    write_json(preprocessed / "nnUNetPlans.json", plans)
    api.preprocess([NUMBER], configurations=[CONFIGURATION], num_processes=[1], show_progress_bar=False)
    write_json(splits_file, splits)


def write_raw(folder: Path, cases: dict[str, Case], labels: dict[str, int]) -> None:
    """Write cases in nnU-Net's layout, with images and masks as symbolic links."""
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for name, case in cases.items():
        for link, file in (
            (folder / "imagesTr" / f"{name}_0000.nii.gz", case.images[0]),
            (folder / "labelsTr" / f"{name}.nii.gz", case.label),
        ):
            link.unlink(missing_ok=True)
            link.symlink_to(Path(str(file)).resolve())
    write_json(
        folder / "dataset.json",
        {
            "channel_names": {"0": "MRI"},
            "labels": {"background": 0, **labels},
            "numTraining": len(cases),
            "file_ending": ".nii.gz",
        },
    )


def train(trainer: str, seed: int, results: Path, iterations: int) -> None:
    """Train one fold and predict its validation cases; resume from a checkpoint if there is one."""
    from nnunetv2.run.run_training import get_trainer_from_args, maybe_load_checkpoint

    fold = results / NAME / f"{trainer}__nnUNetPlans__{CONFIGURATION}" / f"fold_{seed}"
    if (fold / "validation" / "summary.json").is_file():
        return
    resume = any(fold.glob("checkpoint_*.pth"))
    for set_seed in (random.seed, np.random.seed, torch.manual_seed):
        set_seed(seed)
    trainer_object: Any = get_trainer_from_args(
        str(NUMBER), CONFIGURATION, seed, trainer, continue_training=resume, device=torch.device("cpu")
    )
    trainer_object.num_iterations_per_epoch, trainer_object.num_val_iterations_per_epoch = EPOCH, 1
    trainer_object.num_epochs, trainer_object.save_every = iterations // EPOCH, 1
    maybe_load_checkpoint(trainer_object, resume, validation_only=False)
    seconds_file = fold / CPU_SECONDS
    before = json.loads(seconds_file.read_text()) if resume and seconds_file.is_file() else 0.0
    start = time.process_time()
    try:
        trainer_object.run_training()
    finally:
        write_json(seconds_file, before + time.process_time() - start)
    trainer_object.inference_allowed_mirroring_axes = None
    trainer_object.perform_actual_validation(False)


if __name__ == "__main__":
    main()
