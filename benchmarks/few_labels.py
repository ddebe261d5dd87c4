"""What pretraining on pixels is worth to a network of points that has few labels, at equal steps.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive python benchmarks/few_labels.py rooms
    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive python benchmarks/few_labels.py lidar
    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive python benchmarks/few_labels.py shapes

`rooms`: a class for every point of generated rooms, 20 labelled points in each of 6. PPKT and soft labels learn from
the first 100 frames of 7-Scenes beforehand, one pretraining for each seed; painted points come from four rendered
pictures of each room. `lidar`: a class for every object of dales_objects, 25 of them labelled, from the same PPKT.
`shapes`: a class for every piece of furniture, 110 of them labelled. Arms are in benchmarks/few_*.yaml. It can be
stopped at any time: started again it goes on. Tables go into docs/results.md, between their markers.
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
from dimlift.data.datasets.point_cloud_index import load_entry
from dimlift.data.datasets.open_dataset import open_dataset
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
from dimlift.records.study import StudyArm, Study
from dimlift.records.weights import write_weights
from dimlift.report.summary import summarise_records
from dimlift.studies.compare import compare
from dimlift.studies.load_config import load_config, parse
from dimlift.studies.pretrain import pretrain
from dimlift.studies.pretrain_config import PretrainConfig
from dimlift.studies.run_config import StudyConfig
from dimlift.training.fit import fit
from hippocampus import ROOT, table, print_event, write_block
from painted_rooms import make_rooms
from ppkt import shuffled

NETWORK, SHARE, VOXEL = "packaged:efficientnet_lite0", 0.25, 0.1
WAYS = {
    "point_mae": {"method": "point_mae", "decoder_depth": 2},
    "crosspoint": {"method": "crosspoint", "network": NETWORK, "render_size": 96},
}
ARM_KEYS = ("method", "num_groups", "group_size", "width", "depth")


def main() -> None:
    """Prepare and pretrain what is missing, run the study, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=["rooms", "lidar", "shapes"])
    parser.add_argument("--steps", type=int, help="of every fine-tuning; those of the YAML file by default")
    parser.add_argument("--pretraining", type=int, default=100, help="steps of every pretraining")
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
            of_shapes(study, folder.parent, seed, options.pretraining)
        elif not folder.is_dir():
            of_frames(folder, seed, options.frames, options.pretraining, options.out / "maps")
    folder = options.out / f"{options.study}-{study.budget.steps}"
    compare(study, folder, progress=print_event)
    plan, records = Study.load(folder), load_records(folder / "records")
    if options.study == "rooms":
        for arm, features in (("painted", ["features"]), ("colours_painted", ["colours", "features"])):
            joined(plan, records, *painted(study, arm, features, folder))
        joined(plan, records, StudyArm("painted points alone, logistic regression"), list(linear(study, records)))
    found = [record for record in records if record.status == "finished"]
    budget = f"steps:{study.budget.steps}"
    text = table(summarise_records(plan, found), found, budget).replace("training volumes", "training clouds")
    write_block(f"few labels {options.study} {budget}", text)


def of_frames(folder: Path, seed: int, frames: Path, steps: int, cache: Path) -> None:
    """Weights of PPKT, of PPKT with random pairs, or of soft labels: the name of the folder says which."""
    kind = folder.name.rpartition("-")[0]
    learnt = readable_frames(find_frames(frames))[0][:100]
    teacher = open_teacher(NETWORK)
    torch.manual_seed(seed)
    if kind == "soft_labels":
        maps = CachedFeatureMaps(teacher, cache, feature_fn=class_maps)
        method = SoftLabels(point_sparse_unet(3, maps.channels, 18, SHARE, VOXEL), maps)
    else:
        method = PPKT(point_sparse_unet(3, None, 18, SHARE, VOXEL), CachedFeatureMaps(teacher, cache), temperature=0.04)
    sampler = PixelPointPairSampler(learnt, stride=6, num_pairs=2048, seed=seed)

    def batch_at(step: int) -> FrameBatch:
        batch = sampler.batch(step, 2)
        return shuffled(batch, step) if kind == "random_pairs" else batch

    training = TrainingSection(batch_size=2, lr=1e-3, num_threads=1, device="cpu")
    result = fit(method, batch_at, budget=BudgetSection(steps=steps), training=training, seed=seed)
    card = {"task": "pretraining", "method": kind, "steps": result.steps, "seconds": result.seconds}
    write_weights(folder, method.model.state_dict(), card)
    print(f"{folder}: {steps} steps, loss {result.history[0]['loss']:.3f} to {result.history[-1]['loss']:.3f}")


def of_shapes(study: StudyConfig, folder: Path, seed: int, steps: int) -> None:
    """Pretrain the transformer of the study on its objects, without labels and without those that test."""
    way = folder.name.rpartition("-")[0]
    config = {
        "pretraining": WAYS[way],
        "arm": study.arms[way].model_dump(include=set(ARM_KEYS)),
        "dataset": study.dataset.model_dump(),
        "point_clouds": study.point_clouds.model_dump(include={"num_points", "rotation", "up_axis"}),
        "split": study.split.model_dump(),
        "task": "classification",
        "budget": {"steps": steps},
        "training": {"batch_size": 16, "weight_decay": 0.05, "num_threads": 1, "device": "cpu"},
        "seed": seed,
    }
    pretrain(parse(config, PretrainConfig, source=way), folder, print_event)


def painted(study: StudyConfig, name: str, features: list[str], folder: Path) -> tuple[StudyArm, list[RunRecord]]:
    """The U-Net from scratch once more, shown other columns of the same points: a study of its own."""
    titles = {"painted": "painted points, sparse U-Net", "colours_painted": "colours and painted points, sparse U-Net"}
    point_clouds = study.point_clouds.model_copy(update={"features": tuple(features)})
    one = study.model_copy(update={"point_clouds": point_clouds, "arms": {"scratch": study.arms["scratch"]}})
    compare(one, folder.with_name(f"{folder.name}-{name}"), progress=print_event)
    records = load_records(folder.with_name(f"{folder.name}-{name}") / "records")
    return StudyArm(titles[name]), [replace(record, arm=name) for record in records]


def linear(study: StudyConfig, records: list[RunRecord]) -> Iterator[RunRecord]:
    """A linear reading of the paint of the labelled points, of the training rooms of each seed."""
    dataset = open_dataset(study.dataset.path, task="segmentation")
    clouds = {case.name: load_entry(case.images[0]) for case in dataset.cases}
    for record in [each for each in records if each.arm == study.reference]:
        train = [clouds[name] for name in record.extra["training_cases"]]
        shown = np.concatenate([cloud.extra["features"][cloud.labels >= 0] for cloud in train])
        options = np.concatenate([cloud.labels[cloud.labels >= 0] for cloud in train])
        model = LogisticRegression(max_iter=2000).fit(shown / shown.std(), options)
        tested = sorted({score.case for score in record.scores} - {"all"})
        counts = [
            confusion_matrix(
                model.predict(clouds[n].extra["features"] / shown.std()), clouds[n].labels, len(dataset.labels)
            )
            for n in tested
        ]
        scores = score_points(tested, counts, dataset.labels)
        yield replace(record, arm="painted_linear", scores=scores, steps=0, seconds=0.0, peak_bytes=0)


def joined(plan: Study, records: list[RunRecord], arm: StudyArm, more: list[RunRecord]) -> None:
    """Let an arm whose records were made apart stand in the same table: the same rooms, seeds and steps."""
    plan.arms[more[0].arm] = arm
    records += more


if __name__ == "__main__":
    main()
