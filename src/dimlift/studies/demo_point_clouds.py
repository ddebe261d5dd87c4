"""The demo on point clouds: two ways to pretrain without labels, compared with random weights by a linear SVM."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from dimlift.data.datasets.point_cloud_set import PointCloudSet, load_point_cloud_set
from dimlift.evaluation.probe import estimate_bn_statistics
from dimlift.evaluation.probe_protocols import make_splits, svm_correct
from dimlift.inference.embed import build_point_encoder, embed_point_clouds
from dimlift.progress import Event, Progress, no_progress
from dimlift.records.record import RunRecord, Score
from dimlift.records.study import CasePaths, Study, StudyArm, StudyDataset
from dimlift.studies.demo import require_empty_folder
from dimlift.studies.load_config import parse
from dimlift.studies.pretrain import pretrain
from dimlift.studies.pretrain_config import PretrainConfig
from dimlift.studies.run_record import versions

ENCODER = {
    "method": "point_m2ae", "num_groups": [128, 64, 16], "group_sizes": [16, 8, 4], "widths": [48, 96, 192],
    "depths": [1, 1, 2], "heads": 6,
}  # fmt: skip
PRETRAINING: dict[str, dict[str, Any]] = {
    "point_mae": {"method": "point_mae", "mask_ratio": 0.8, "decoder_depth": 1},
    "crosspoint": {"method": "crosspoint", "network": "packaged:efficientnet_lite0", "render_size": 96},
}
ARMS = {
    "random": StudyArm("random weights", "The encoder with random weights."),
    "point_mae": StudyArm("Point-MAE", "The encoder after masked points, without a 2D network."),
    "crosspoint": StudyArm(
        "CrossPoint", "The encoder after contrast with an ImageNet network on images of the shapes."
    ),
}
SECONDS, QUICK_SECONDS = 40.0, 10.0
"""Time of each pretraining."""

NUM_POINTS = 512
UNLABELLED_PER_CLASS, LABELLED_PER_CLASS = 40, 12
REPEATS, TEST_FRACTION = 5, 0.5

NOTES = (
    "The shapes are simulated from boxes. Results on scans may differ.",
    "A linear SVM classifies frozen features. Each seed samples training and test shapes anew; each encoder was "
    "pretrained once, so that the chance of pretraining is not measured.",
)


def demo_point_clouds(
    out: Path | str, quick: bool = False, progress: Progress = no_progress, steps: int | None = None
) -> list[RunRecord]:
    """Simulate shapes, pretrain in two ways at equal time, and probe both beside random weights.

    Writes to `out` the files that `write_report` reads (study.json, records/), the shapes, and one folder for each
    pretraining.

    Args:
        out: a new or empty folder.
        quick: a quarter of the training time.
        steps: train that many steps instead of seconds.

    Returns:
        One record for each encoder and each sample of training and test shapes.

    Raises:
        RunError: if the folder is not empty.
    """
    from dimlift.data.synthetic.shapes import simulate_shapes

    out, seconds = require_empty_folder(out), QUICK_SECONDS if quick else SECONDS
    budget: dict[str, Any] = {"steps": steps} if steps else {"seconds": seconds}
    progress(Event("read", message="simulating shapes from boxes"))
    unlabelled = simulate_shapes(out / "unlabelled.npz", UNLABELLED_PER_CLASS, seed=1)
    shapes = load_point_cloud_set(simulate_shapes(out / "shapes.npz", LABELLED_PER_CLASS))
    study = Study(
        title="Does pretraining help on these shapes?",
        task="classification",
        reference="random",
        arms=ARMS,
        planned=len(ARMS) * REPEATS,
        notes=list(NOTES),
        dataset=StudyDataset("shapes", len(shapes), {name: index for index, name in enumerate(shapes.classes)}),
        budget=budget,
        cases={name: CasePaths("shapes.npz") for name in shapes.names},
        modality="point_clouds",
        up_axis="y",
    )
    study.save(out)
    records = _probe_encoder("random", None, shapes, None)
    for name, options in PRETRAINING.items():
        raw = {
            "pretraining": options,
            "arm": ENCODER,
            "dataset": {"path": str(unlabelled)},
            "point_clouds": {"num_points": NUM_POINTS, "rotation": "upright"},
            "budget": budget,
            "training": {"batch_size": 8, "weight_decay": 0.05, "checkpoint_every": 3600.0},
        }
        pretraining = pretrain(parse(raw, PretrainConfig, source="the demo"), out / name, progress)
        records += _probe_encoder(name, out / name / "weights", shapes, pretraining)
    for record in records:
        record.save(out / "records")
    return records


def _probe_encoder(
    name: str, weights: Path | None, shapes: PointCloudSet, pretraining: RunRecord | None
) -> list[RunRecord]:
    """Return one record for each sample of training and test shapes."""
    encoder = build_point_encoder(ENCODER, weights)
    if weights is None:
        estimate_bn_statistics(encoder, shapes, NUM_POINTS)
    vectors = embed_point_clouds(encoder, shapes, NUM_POINTS)
    truth = np.array(shapes.labels)
    records = []
    for seed, split in enumerate(make_splits(truth, "svm", REPEATS, TEST_FRACTION, ways=5, shots=10, seed=0)):
        correct = svm_correct(vectors, truth, split, "svm")
        records.append(
            RunRecord(
                run_id=hashlib.sha256(f"{name} {seed}".encode()).hexdigest(),
                arm=name,
                fold=0,
                seed=seed,
                steps=pretraining.steps if pretraining else 0,
                seconds=pretraining.seconds if pretraining else 0.0,
                peak_bytes=pretraining.peak_bytes if pretraining else 0,
                versions=versions(),
                status="finished",
                scores=[
                    Score(shapes.names[case], "all", "accuracy", float(right))
                    for case, right in zip(split[1], correct, strict=True)
                ],
                extra={"training_cases": [shapes.names[case] for case in split[0]]},
                train_fraction=1.0,
            )
        )
    return records
