"""Methods that transfer 2D pretraining to 3D on the hippocampus: equal fine-tuning, pretraining shared over seeds.

    python benchmarks/routes.py --budget seconds:120 --labelled 8,32 --pretraining seconds:600 --round seconds:60
    python benchmarks/routes.py --budget steps:1 --labelled 4 --seeds 0 --pretraining steps:1 --round steps:20 \\
        --rounds 1 --image-size 32 --data TEN_VOLUMES split.num_test=2        # a test run

30 volumes are tested and never used in training. The 100 others are the pool: slice distillation and DistInit are
pretrained on all of them without labels, once for all seeds; segmia starts from the labelled volumes of each seed and
pseudo-labels the others. The first command takes hours on one core; started again it resumes. One table per number of
labelled volumes is written to docs/results.md, between its markers.
"""

import argparse
import csv
import os
from pathlib import Path
from typing import Any

from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.records.train_size import TrainSize
from dimlift.studies.load_config import load_config, parse
from dimlift.studies.pretrain import pretrain
from dimlift.studies.pretrain_config import PretrainConfig
from dimlift.studies.run_config import StudyConfig
from dimlift.studies.self_training.config import SelfTrainingConfig
from dimlift.studies.self_training.run import self_train
from dimlift.studies.split import split_cases
from hippocampus import ROOT, print_event, run_study

SHARED_PRETRAINING: dict[str, dict[str, Any]] = {
    "unet_slice_distillation": {
        "pretraining": {"method": "slice_distillation", "stages": [0, 1, 2, 3], "num_components": 48},
    },
    "lifted_distinit": {
        "pretraining": {"method": "distinit", "teachers": [{"network": "packaged:efficientnet_lite0"}]},
    },
    "lifted_vdt": {
        "pretraining": {"method": "vdt", "teacher": "packaged:efficientnet_lite0"},
        "task": "classification",
        "training": {"patch_size": "auto", "batch_size": 8},
    },
}
"""Pretraining of an arm, shared by all seeds, of the network of the arm."""


def main() -> None:
    """Execute the missing pretrainings and runs, write the tables."""
    options = arguments()
    os.chdir(ROOT)
    kind, _, amount = options.budget.partition(":")
    for count in (int(text) for text in options.labelled.split(",")):
        overrides = [f"budget={{{kind}: {amount}}}", f"seeds=[{options.seeds}]", f"train_counts=[{count}]"]
        if options.data:
            overrides.append(f"dataset.path={options.data}")
        study = load_config(Path(__file__).with_suffix(".yaml"), [*overrides, *options.overrides], StudyConfig)
        chosen = options.arms.split(",") if options.arms else list(study.arms)
        study = resolve_init_from(study, options.out / "pretrained", count)
        for name in chosen:
            if name in SHARED_PRETRAINING:
                pretrain_shared(study, name, options)
        if "lifted_segmia" in chosen:
            for seed in study.seeds:
                train_segmia(study, seed, count, options)
        found = {name: study.arms[name] for name in study.arms if is_pretrained(study, name)}
        study = study.model_copy(update={"arms": found, "title": f"{study.title}, {count} labelled volumes"})
        arms = [name for name in chosen if name in study.arms]
        run_study(
            study, options.out / f"{count}-labelled" / f"{kind}-{amount}", arms, options.budget, f"routes {count}"
        )


def arguments() -> argparse.Namespace:
    """Return the command line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="seconds:120", help="steps:N or seconds:S of each fine-tuning")
    parser.add_argument("--labelled", default="8,32", help="numbers of labelled volumes, one study each")
    parser.add_argument("--pretraining", default="seconds:600", help="budget of each shared pretraining")
    parser.add_argument("--round", default="seconds:60", help="budget of each training within segmia")
    parser.add_argument("--rounds", type=int, default=3, help="maximum number of rounds of segmia")
    parser.add_argument("--arms", default="", help="names from the YAML file, separated by commas; all by default")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--data", default="", help="folder with images/ and labels/")
    parser.add_argument("--images", default="../shared/data/imagenet_photos", help="folder of images")
    parser.add_argument("--image-size", type=int, default=224, help="height and width of images in VDT pretraining")
    parser.add_argument("--out", type=Path, default=Path("runs/routes"))
    parser.add_argument("overrides", nargs="*", help="key.sub=value")
    return parser.parse_args()


def resolve_init_from(study: StudyConfig, pretrained: Path, count: int) -> StudyConfig:
    """Return the study with the pretrained folders inserted in `init_from`."""
    arms = {}
    for name, arm in study.arms.items():
        start = arm.init_from and arm.init_from.replace("PRETRAINED", str(pretrained)).replace("LABELLED", str(count))
        arms[name] = arm.model_copy(update={"init_from": start})
    return study.model_copy(update={"arms": arms})


def is_pretrained(study: StudyConfig, name: str) -> bool:
    """Return whether the pretrained weights of an arm exist for every seed."""
    start = study.arms[name].init_from
    return start is None or all(Path(start.replace("{seed}", str(seed))).is_dir() for seed in study.seeds)


def pretrain_shared(study: StudyConfig, name: str, options: argparse.Namespace) -> None:
    """Pretrain the network of an arm on volumes that are not tested, once for all seeds."""
    recipe, arm = SHARED_PRETRAINING[name], study.arms[name]
    kind, _, amount = options.pretraining.partition(":")
    raw: dict[str, Any] = {
        **recipe,
        "arm": {**arm.model_dump(mode="json"), "init_from": None},
        "budget": {kind: float(amount) if kind == "seconds" else int(amount)},
        "training": {**study.training.model_dump(mode="json"), **recipe.get("training", {})},
    }
    if recipe["pretraining"]["method"] == "vdt":
        raw["images"] = {"path": options.images, "size": options.image_size}
    else:
        raw |= {"dataset": study.dataset.model_dump(), "split": study.split.model_dump()}
    pretrain(parse(raw, PretrainConfig, source=name), Path(arm.init_from or "").parent, print_event)


def train_segmia(study: StudyConfig, seed: int, count: int, options: argparse.Namespace) -> None:
    """Run segmia for the labelled volumes of one seed; the pool is all volumes that are neither trained nor tested."""
    arm = study.arms["lifted_segmia"]
    out = Path((arm.init_from or "").replace("{seed}", str(seed))).parent
    dataset = open_dataset(study.dataset.path, study.dataset.layout)
    train, test = split_cases(dataset, study.run_config("unet", train_size=TrainSize(count=count), fold=0, seed=seed))
    used = {case.name for case in [*train, *test]}
    pool = [case for case in dataset.cases if case.name not in used]
    tables = out.parent / f"{out.name}-tables"
    tables.mkdir(parents=True, exist_ok=True)
    for name, cases in (("labelled", train), ("unlabelled", pool)):
        with (tables / f"{name}.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["image", "label", "group", "name"])
            for case in cases:
                label = case.label.resolve() if isinstance(case.label, Path) and name == "labelled" else ""
                writer.writerow([case.images[0].resolve(), label, case.group, case.name])
    kind, _, amount = options.round.partition(":")
    raw = {
        "labelled": {"path": str(tables / "labelled.csv")},
        "unlabelled": {"path": str(tables / "unlabelled.csv")},
        "arm": {**arm.model_dump(mode="json"), "init_from": None},
        "stages": ["imagenet", "segmentation", "segmia"],
        "baseline": False,
        "folds": 2,
        "num_rounds": options.rounds,
        "budget": {kind: float(amount) if kind == "seconds" else int(amount)},
        "training": study.training.model_dump(mode="json"),
        "seed": seed,
    }
    self_train(parse(raw, SelfTrainingConfig, source="segmia"), out, print_event)


if __name__ == "__main__":
    main()
