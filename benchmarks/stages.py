"""What each of 3D-ConvNeXt's four pretrainings adds to a classification: `dimlift self-train`, then equal steps for all.

    python benchmarks/stages.py --network convnext3d --steps 100 --pretraining 100 --seeds 0,1,2
    python benchmarks/stages.py --network lifted --arms scratch,imagenet --steps 100

A hippocampus is small, middling or large: the third its volume falls in, read off its mask, which stands in for a grade
of severity that no data at hand have. 60 volumes test; of the 70 others each seed draws 32 with their class and 8 of
the rest with their mask. The 8 teach segmentation (both parts of the hippocampus as one), the 32 are the pool of
`segmia` and, with their classes, of `multitask`. An arm starts where a stage left the network of the first fold, and
all learn classes for equally many steps. It can be stopped at any time: started again it goes on. One table for each
network goes into docs/results.md.
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
from hippocampus import ROOT, run_study, print_event, write_block

SIZES = ("1 small", "2 middling", "3 large")
MASKS = 8
"""Volumes with a mask."""


def main() -> None:
    """Run the stages of every seed, compare what starts from them, write the tables."""
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
    staged = any(arm.init_from for arm in arms.values())
    for seed in study.seeds if staged else ():
        pretrain(study, options, seed)
    title = f"Stages of pretraining, `{options.network}`, classes of size"
    study = study.model_copy(
        update={"arms": {n: a for n, a in arms.items() if ready(a.init_from, study)}, "title": title}
    )
    name = f"stages {options.network}"
    folder = out / f"{options.network}-steps-{options.steps}"
    run_study(study, folder, list(study.arms), f"steps:{options.steps}", name)
    if staged:
        write_stages(study, options)


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=("convnext3d", "lifted"), default="convnext3d")
    parser.add_argument("--arms", default="", help="scratch, imagenet, segmentation, segmia, multitask; all by default")
    parser.add_argument("--steps", type=int, default=100, help="of learning classes, for every arm")
    parser.add_argument("--pretraining", type=int, default=100, help="steps of each training within the stages")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--data", default="../shared/data/hippocampus", help="folder with images/ and labels/")
    parser.add_argument("--out", type=Path, default=Path("runs/stages"))
    parser.add_argument("overrides", nargs="*", help="key.sub=value")
    return parser.parse_args()


def write_classes(data: str, table: Path) -> Path:
    """A table of all volumes with the third that the volume inside of their mask falls in."""
    cases = open_dataset(data).cases
    volumes = []
    for case in cases:
        mask = read_volume(Path(str(case.label)))
        volumes.append(np.count_nonzero(mask.array) * float(np.prod(voxel_sizes(mask.affine))))
    thirds = np.searchsorted(np.quantile(volumes, (1 / 3, 2 / 3)), volumes)
    write_table(table, [(case, SIZES[third]) for case, third in zip(cases, thirds, strict=True)])
    return table


def write_table(path: Path, rows: list[tuple[Case, object]]) -> None:
    """Cases with their labels, as dimlift reads them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "label", "group", "name"])
        writer.writerows([case.images[0].resolve(), label, case.group, case.name] for case, label in rows)


def pretrain(study: StudyConfig, options: argparse.Namespace, seed: int) -> None:
    """All stages of one seed, on volumes none of which tests."""
    name = f"{options.network}_scratch"
    graded = open_dataset(study.dataset.path, study.dataset.layout, "classification")
    train, test = split_cases(graded, study.run_config(name, train_size=study.train_sizes[0], fold=0, seed=seed))
    spoken_for = {case.name for case in [*train, *test]}
    rest = [case for case in open_dataset(options.data).cases if case.name not in spoken_for]
    drawn = np.random.default_rng(seed).permutation(len(rest))[:MASKS]
    tables = options.out / "tables" / str(seed)
    masked = [(rest[i], write_mask(rest[i], tables)) for i in sorted(drawn)]
    write_table(tables / "labelled.csv", masked)
    write_table(tables / "unlabelled.csv", [(case, "") for case in train])
    names = {value: label for label, value in graded.labels.items()}
    write_table(tables / "classification.csv", [(case, names[int(case.label)]) for case in train])
    start = ["imagenet"] if options.network == "lifted" else []
    arm = study.arms["lifted_imagenet" if start else name]
    raw = {
        **{part: {"path": str(tables / f"{part}.csv")} for part in ("labelled", "unlabelled", "classification")},
        "arm": arm.model_dump(mode="json"),
        "stages": [*start, "segmentation", "segmia", "multitask"],
        "folds": 2,
        "num_rounds": 1,
        "preprocessing": study.preprocessing.model_dump(mode="json"),
        "budget": {"steps": options.pretraining},
        "finetune": {"steps": options.pretraining // 2},
        "training": study.training.model_dump(mode="json"),
        "seed": seed,
    }
    self_train(parse(raw, SelfTrainingConfig, source="stages"), options.out / f"{options.network}-{seed}", print_event)


def write_mask(case: Case, folder: Path) -> Path:
    """Both parts of a hippocampus as one."""
    mask = read_volume(Path(str(case.label)))
    path = folder.resolve() / f"{case.name}.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image((mask.array > 0).astype(np.uint8), mask.affine), path)
    return path


def ready(start: str | None, study: StudyConfig) -> bool:
    """Whether an arm has what it starts from, for every seed; a teacher that found nothing ends the stages early."""
    return start is None or all(Path(start.replace("{seed}", str(seed))).is_dir() for seed in study.seeds)


def write_stages(study: StudyConfig, options: argparse.Namespace) -> None:
    """The Dice that each stage came to within the labelled volumes, between its markers."""
    reports = [json.loads((options.out / f"{options.network}-{seed}" / REPORT).read_text()) for seed in study.seeds]
    lines = [
        f"| stage | {' | '.join(f'seed {seed}' for seed in study.seeds)} |",
        "| --- |" + " --: |" * len(study.seeds),
    ]
    for stage in dict.fromkeys(row["stage"] for report in reports for row in report):
        found = [next((row for row in report if row["stage"] == stage), None) for report in reports]
        cells = ["" if row is None or row["dice"] is None else f"{row['dice']:.3f}" for row in found]
        lines.append(f"| {stage} | {' | '.join(cells)} |")
    write_block(f"stages {options.network} dice", "\n".join(lines))


if __name__ == "__main__":
    main()
