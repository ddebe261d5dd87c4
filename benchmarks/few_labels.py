"""Pretraining of point cloud networks on images, fine-tuned with few labels and equal steps.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive python benchmarks/few_labels.py rooms
    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive python benchmarks/few_labels.py lidar
    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive python benchmarks/few_labels.py shapes

`rooms`: segmentation of generated rooms, with 20 labelled points in each of 6. PPKT and soft labels are pretrained on
the first 100 frames of 7-Scenes, once per seed; projected image features come from four renderings of each room.
`lidar`: classification of dales_objects, 25 of them labelled, with the same PPKT. `shapes`: classification of
furniture, 110 objects labelled. Arms are in benchmarks/few_*.yaml. An interrupted benchmark resumes. Tables are written
to docs/results.md, between their markers.
"""

import argparse
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from dimlift.batch import FrameBatch
from dimlift.config.sections import BudgetSection, TrainingSection
from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.datasets.point_cloud_index import load_entry
from dimlift.data.rgbd.frames import readable_frames
from dimlift.data.rgbd.recordings import find_frames
from dimlift.data.sampling.rgbd_pair_sampler import PixelPointPairSampler
from dimlift.methods.ppkt.method import PPKT
from dimlift.methods.soft_labels.method import SoftLabels, class_maps
from dimlift.methods.teachers.feature_maps import CachedFeatureMaps
from dimlift.methods.teachers.teacher import open_teacher
from dimlift.metrics.points import confusion_matrix, score_points
from dimlift.models.point_sparse_unet import point_sparse_unet
from dimlift.records.record import RunRecord, load_records
from dimlift.records.study import Study, StudyArm
from dimlift.records.weights import write_weights
from dimlift.report.summary import summarise_records
from dimlift.studies.compare import compare
from dimlift.studies.load_config import load_config, parse
from dimlift.studies.pretrain import pretrain
from dimlift.studies.pretrain_config import PretrainConfig
from dimlift.studies.run_config import StudyConfig
from dimlift.training.fit import fit
from hippocampus import ROOT, print_event, table, write_block
from ppkt import shuffle_pairs
from projected_rooms import make_rooms

NETWORK, WIDTH_MULTIPLIER, VOXEL_SIZE = "packaged:efficientnet_lite0", 0.25, 0.1
PRETRAINING = {
    "point_mae": {"method": "point_mae", "decoder_depth": 2},
    "crosspoint": {"method": "crosspoint", "network": NETWORK, "render_size": 96},
}
ARM_KEYS = ("method", "num_groups", "group_size", "width", "depth")


def main() -> None:
    """Write the missing data, run the missing pretrainings and the study, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=["rooms", "lidar", "shapes"])
    parser.add_argument("--steps", type=int, help="steps of each fine-tuning; those of the YAML file by default")
    parser.add_argument("--pretraining", type=int, default=100, help="steps of each pretraining")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--frames", type=Path, default=Path("../shared/data/sevenscenes"))
    parser.add_argument("--out", type=Path, default=Path("runs/few_labels"), help="as in the YAML files")
    options = parser.parse_args()
    os.chdir(ROOT)
    torch.set_num_threads(1)
    overrides = [f"seeds=[{options.seeds}]", *([f"budget.steps={options.steps}"] if options.steps else [])]
    study = load_config(ROOT / "benchmarks" / f"few_{options.study}.yaml", overrides, StudyConfig)
    if options.study == "rooms":
        make_rooms(options.out, CachedFeatureMaps(open_teacher(NETWORK), options.out / "maps"))
    for name, seed in sorted(
        {(arm.init_from, seed) for arm in study.arms.values() if arm.init_from for seed in study.seeds}
    ):
        folder = Path(name.replace("{seed}", str(seed)))
        if options.study == "shapes":
            pretrain_on_shapes(study, folder.parent, seed, options.pretraining)
        elif not folder.is_dir():
            axis = "xyz".index(study.point_clouds.up_axis)
            pretrain_on_frames(folder, seed, options.frames, options.pretraining, options.out / "maps", axis)
    folder = options.out / f"{options.study}-{study.budget.steps}"
    compare(study, folder, progress=print_event)
    plan, records = Study.load(folder), load_records(folder / "records")
    if options.study == "rooms":
        for arm, features in (("projected", ["features"]), ("colours_projected", ["colours", "features"])):
            add_arm(plan, records, *compare_features(study, arm, features, folder))
        regression = StudyArm("projected features alone, logistic regression")
        add_arm(plan, records, regression, list(logistic_regression(study, records)))
    found = [record for record in records if record.status == "finished"]
    budget = f"steps:{study.budget.steps}"
    text = table(summarise_records(plan, found), found, budget).replace("training volumes", "training point clouds")
    write_block(f"few labels {options.study} {budget}", text)


def pretrain_on_frames(folder: Path, seed: int, frames: Path, steps: int, cache: Path, up_axis: int) -> None:
    """Pretrain with PPKT, PPKT on random pairs, or soft labels, as named by the folder; write the weights."""
    kind = folder.name.rpartition("-")[0]
    train_frames = readable_frames(find_frames(frames))[0][:100]
    teacher = open_teacher(NETWORK)
    torch.manual_seed(seed)
    if kind == "soft_labels":
        maps = CachedFeatureMaps(teacher, cache, feature_fn=class_maps)
        method: PPKT | SoftLabels = SoftLabels(
            point_sparse_unet(3, maps.channels, 18, WIDTH_MULTIPLIER, VOXEL_SIZE), maps
        )
    else:
        method = PPKT(
            point_sparse_unet(3, None, 18, WIDTH_MULTIPLIER, VOXEL_SIZE),
            CachedFeatureMaps(teacher, cache),
            temperature=0.04,
        )
    sampler = PixelPointPairSampler(train_frames, stride=6, num_pairs=2048, up_axis=up_axis, seed=seed)

    def batch_at(step: int) -> FrameBatch:
        batch = sampler.batch(step, 2)
        return shuffle_pairs(batch, step) if kind == "random_pairs" else batch

    training = TrainingSection(batch_size=2, lr=1e-3, num_threads=1, device="cpu")
    result = fit(method, batch_at, budget=BudgetSection(steps=steps), training=training, seed=seed)
    card = {"task": "pretraining", "method": kind, "steps": result.steps, "seconds": result.seconds}
    write_weights(folder, method.model.state_dict(), card)
    print(f"{folder}: {steps} steps, loss {result.history[0]['loss']:.3f} to {result.history[-1]['loss']:.3f}")


def pretrain_on_shapes(study: StudyConfig, folder: Path, seed: int, steps: int) -> None:
    """Pretrain the transformer of the study on its training objects, without labels."""
    method = folder.name.rpartition("-")[0]
    config = {
        "pretraining": PRETRAINING[method],
        "arm": study.arms[method].model_dump(include=set(ARM_KEYS)),
        "dataset": study.dataset.model_dump(),
        "point_clouds": study.point_clouds.model_dump(include={"num_points", "rotation", "up_axis"}),
        "split": study.split.model_dump(),
        "task": "classification",
        "budget": {"steps": steps},
        "training": {"batch_size": 16, "weight_decay": 0.05, "num_threads": 1, "device": "cpu"},
        "seed": seed,
    }
    pretrain(parse(config, PretrainConfig, source=method), folder, print_event)


def compare_features(
    study: StudyConfig, name: str, features: list[str], folder: Path
) -> tuple[StudyArm, list[RunRecord]]:
    """Run the U-Net from scratch on other features of the same points, as a separate study."""
    titles = {
        "projected": "projected features, sparse U-Net",
        "colours_projected": "colours and projected features, sparse U-Net",
    }
    point_clouds = study.point_clouds.model_copy(update={"features": tuple(features)})
    one = study.model_copy(update={"point_clouds": point_clouds, "arms": {"scratch": study.arms["scratch"]}})
    compare(one, folder.with_name(f"{folder.name}-{name}"), progress=print_event)
    records = load_records(folder.with_name(f"{folder.name}-{name}") / "records")
    return StudyArm(titles[name]), [replace(record, arm=name) for record in records]


def logistic_regression(study: StudyConfig, records: list[RunRecord]) -> Iterator[RunRecord]:
    """Fit projected features of the labelled points of the training rooms, for each seed."""
    dataset = open_dataset(study.dataset.path, task="segmentation")
    point_clouds = {case.name: load_entry(case.images[0]) for case in dataset.cases}
    for record in [each for each in records if each.arm == study.reference]:
        train = [point_clouds[name] for name in record.extra["training_cases"]]
        masks = [cloud.labels >= 0 for cloud in train]
        features = np.concatenate([cloud.extra["features"][mask] for cloud, mask in zip(train, masks, strict=True)])
        labels = np.concatenate([cloud.labels[mask] for cloud, mask in zip(train, masks, strict=True)])
        model = LogisticRegression(max_iter=2000).fit(features / features.std(), labels)
        tested = sorted({score.case for score in record.scores} - {"all"})
        counts = [
            confusion_matrix(
                model.predict(point_clouds[n].extra["features"] / features.std()),
                point_clouds[n].labels,
                len(dataset.labels),
            )
            for n in tested
        ]
        scores = score_points(tested, counts, dataset.labels)
        yield replace(record, arm="projected_logistic_regression", scores=scores, steps=0, seconds=0.0, peak_bytes=0)


def add_arm(plan: Study, records: list[RunRecord], arm: StudyArm, more: list[RunRecord]) -> None:
    """Add an arm of another study with the same rooms, seeds and steps to the table."""
    plan.arms[more[0].arm] = arm
    records += more


if __name__ == "__main__":
    main()
