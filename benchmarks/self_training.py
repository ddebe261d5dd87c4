"""Effect of each pretraining stage of 3D-ConvNeXt on a classification, with equal fine-tuning steps for all arms.

    python benchmarks/self_training.py --network convnext3d --steps 100 --pretraining 100 --seeds 0,1,2
    python benchmarks/self_training.py --network lifted --arms scratch,imagenet --steps 100

Classes are small, medium and large hippocampi: tertiles of the volume inside the mask, as a substitute for a severity
grade. 60 volumes are tested; of the 70 others each seed samples 32 with their class and 8 of the remaining ones with
their mask. The 8 masks (both parts of the hippocampus merged) train segmentation; the 32 are the pool of `segmia` and,
with their classes, of `multitask`. An arm starts from the network of the first cv fold of its stage. An interrupted
benchmark resumes. One table per network is written to docs/results.md.
"""

import argparse
import csv
import json
import os
from pathlib import Path

import nibabel
import numpy as np

from dimlift.data.case import Case
from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.io.readers import read_volume
from dimlift.data.volume import voxel_sizes
from dimlift.studies.load_config import load_config, parse
from dimlift.studies.run_config import StudyConfig
from dimlift.studies.self_training.config import SelfTrainingConfig
from dimlift.studies.self_training.run import REPORT, self_train
from dimlift.studies.split import split_cases
from hippocampus import ROOT, print_event, run_study, write_block

SIZES = ("1 small", "2 medium", "3 large")
NUM_MASKS = 8
"""Number of volumes with a mask."""


def main() -> None:
    """Run the stages of every seed, compare the arms initialised from them, write the tables."""
    options = arguments()
    os.chdir(ROOT)
    out: Path = options.out
    chosen = options.arms.split(",") if options.arms else []
    table = write_classes(options.data, out / "volumes.csv")
    overrides = [f"dataset.path={table}", f"budget={{steps: {options.steps}}}", f"seeds=[{options.seeds}]"]
    overrides += [f"reference={options.network}_scratch", *options.overrides]
    study = load_config(Path(__file__).with_suffix(".yaml"), overrides, StudyConfig)
    arms = {
        name: arm.model_copy(update={"init_from": arm.init_from and arm.init_from.replace("PRETRAINED", str(out))})
        for name, arm in study.arms.items()
        if name.startswith(options.network) and (not chosen or name.removeprefix(f"{options.network}_") in chosen)
    }
    needs_stages = any(arm.init_from for arm in arms.values())
    for seed in study.seeds if needs_stages else ():
        run_stages(study, options, seed)
    title = f"Self-training stages, `{options.network}`, size classes"
    study = study.model_copy(
        update={"arms": {n: a for n, a in arms.items() if is_pretrained(a.init_from, study)}, "title": title}
    )
    name = f"self-training {options.network}"
    folder = out / f"{options.network}-steps-{options.steps}"
    run_study(study, folder, list(study.arms), f"steps:{options.steps}", name)
    if needs_stages:
        write_stages(study, options)


def arguments() -> argparse.Namespace:
    """Return the command line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=("convnext3d", "lifted"), default="convnext3d")
    parser.add_argument("--arms", default="", help="scratch, imagenet, segmentation, segmia, multitask; all by default")
    parser.add_argument("--steps", type=int, default=100, help="steps of the classification, for every arm")
    parser.add_argument("--pretraining", type=int, default=100, help="steps of each training within the stages")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--data", default="../shared/data/hippocampus", help="folder with images/ and labels/")
    parser.add_argument("--out", type=Path, default=Path("runs/self_training"))
    parser.add_argument("overrides", nargs="*", help="key.sub=value")
    return parser.parse_args()


def write_classes(data: str, table: Path) -> Path:
    """Write a table of all volumes with the tertile of the volume inside their mask; return its path."""
    cases = open_dataset(data).cases
    volumes = []
    for case in cases:
        mask = read_volume(Path(str(case.label)))
        volumes.append(np.count_nonzero(mask.array) * float(np.prod(voxel_sizes(mask.affine))))
    tertiles = np.searchsorted(np.quantile(volumes, (1 / 3, 2 / 3)), volumes)
    write_table(table, [(case, SIZES[tertile]) for case, tertile in zip(cases, tertiles, strict=True)])
    return table


def write_table(path: Path, rows: list[tuple[Case, object]]) -> None:
    """Write cases with their labels as a CSV dataset."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "label", "group", "name"])
        writer.writerows([case.images[0].resolve(), label, case.group, case.name] for case, label in rows)


def run_stages(study: StudyConfig, options: argparse.Namespace, seed: int) -> None:
    """Run all stages of one seed, on volumes that are not tested."""
    name = f"{options.network}_scratch"
    classified = open_dataset(study.dataset.path, study.dataset.layout, "classification")
    train, test = split_cases(classified, study.run_config(name, train_size=study.train_sizes[0], fold=0, seed=seed))
    used = {case.name for case in [*train, *test]}
    unused = [case for case in open_dataset(options.data).cases if case.name not in used]
    sampled = np.random.default_rng(seed).permutation(len(unused))[:NUM_MASKS]
    tables = options.out / "tables" / str(seed)
    masked = [(unused[i], write_mask(unused[i], tables)) for i in sorted(sampled)]
    write_table(tables / "labelled.csv", masked)
    write_table(tables / "unlabelled.csv", [(case, "") for case in train])
    names = {value: label for label, value in classified.labels.items()}
    write_table(tables / "classification.csv", [(case, names[int(case.label)]) for case in train])
    first = ["imagenet"] if options.network == "lifted" else []
    arm = study.arms["lifted_imagenet" if first else name]
    raw = {
        **{part: {"path": str(tables / f"{part}.csv")} for part in ("labelled", "unlabelled", "classification")},
        "arm": arm.model_dump(mode="json"),
        "stages": [*first, "segmentation", "segmia", "multitask"],
        "folds": 2,
        "num_rounds": 1,
        "preprocessing": study.preprocessing.model_dump(mode="json"),
        "budget": {"steps": options.pretraining},
        "finetune": {"steps": options.pretraining // 2},
        "training": study.training.model_dump(mode="json"),
        "seed": seed,
    }
    self_train(
        parse(raw, SelfTrainingConfig, source="self_training"), options.out / f"{options.network}-{seed}", print_event
    )


def write_mask(case: Case, folder: Path) -> Path:
    """Write a mask with both parts of a hippocampus merged; return its path."""
    mask = read_volume(Path(str(case.label)))
    path = folder.resolve() / f"{case.name}.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image((mask.array > 0).astype(np.uint8), mask.affine), path)
    return path


def is_pretrained(init_from: str | None, study: StudyConfig) -> bool:
    """Return whether the initial weights exist for every seed; empty pseudo-labels end the stages early."""
    return init_from is None or all(Path(init_from.replace("{seed}", str(seed))).is_dir() for seed in study.seeds)


def write_stages(study: StudyConfig, options: argparse.Namespace) -> None:
    """Write the Dice of each stage on the labelled volumes, between its markers."""
    reports = [json.loads((options.out / f"{options.network}-{seed}" / REPORT).read_text()) for seed in study.seeds]
    lines = [
        f"| stage | {' | '.join(f'seed {seed}' for seed in study.seeds)} |",
        "| --- |" + " --: |" * len(study.seeds),
    ]
    for stage in dict.fromkeys(row["stage"] for report in reports for row in report):
        found = [next((row for row in report if row["stage"] == stage), None) for report in reports]
        values = ["" if row is None or row["dice"] is None else f"{row['dice']:.3f}" for row in found]
        lines.append(f"| {stage} | {' | '.join(values)} |")
    write_block(f"self-training {options.network} dice", "\n".join(lines))


if __name__ == "__main__":
    main()
