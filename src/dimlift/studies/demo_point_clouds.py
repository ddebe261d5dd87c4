"""The demo on point clouds: two ways to pretrain a network without labels, and what they add on labelled shapes."""

from pathlib import Path
from typing import Any

from dimlift.progress import Event, Progress, no_progress
from dimlift.records.record import RunRecord
from dimlift.studies.compare import compare
from dimlift.studies.demo import require_empty_folder
from dimlift.studies.load_config import parse
from dimlift.studies.pretrain import pretrain
from dimlift.studies.pretrain_config import PretrainConfig
from dimlift.studies.run_config import StudyConfig

ENCODER = {
    "method": "point_m2ae", "num_groups": [128, 64, 16], "group_sizes": [16, 8, 4], "widths": [48, 96, 192],
    "depths": [1, 1, 2], "heads": 6,
}  # fmt: skip
PRETRAINING: dict[str, dict[str, Any]] = {
    "point_mae": {"method": "point_mae", "mask_ratio": 0.8, "decoder_depth": 1},
    "crosspoint": {"method": "crosspoint", "network": "packaged:efficientnet_lite0", "render_size": 96},
}
SECONDS, QUICK_SECONDS = 40.0, 10.0
"""Time of each pretraining, and of all runs of one arm together."""

NUM_POINTS = 512
UNLABELLED_PER_CLASS, LABELLED_PER_CLASS, NUM_TEST = 40, 12, 30

_NOTES = (
    "The shapes are simulated from boxes. Results on scans may differ.",
    "Seconds of training instead of hours: the demo shows how dimlift works, not how well a method can perform.",
)


def demo_point_clouds(
    out: Path | str, quick: bool = False, progress: Progress = no_progress, steps: int | None = None
) -> list[RunRecord]:
    """Simulate shapes, pretrain in two ways at equal time, and compare both with random weights.

    Writes to `out` the files of a study (see `compare`), the shapes, and one folder for each pretraining.

    Args:
        out: a new or empty folder.
        quick: a quarter of the training time and one seed.
        steps: train that many steps instead of seconds.

    Returns:
        One record per run of the study.

    Raises:
        RunError: if the folder is not empty.
    """
    from dimlift.data.synthetic.shapes import simulate_shapes

    out, seconds = require_empty_folder(out), QUICK_SECONDS if quick else SECONDS
    progress(Event("read", message="simulating shapes from boxes"))
    unlabelled = simulate_shapes(out / "unlabelled.npz", UNLABELLED_PER_CLASS, seed=1)
    shapes = simulate_shapes(out / "shapes.npz", LABELLED_PER_CLASS)
    for name, options in PRETRAINING.items():
        raw = {
            "pretraining": options,
            "arm": ENCODER,
            "dataset": {"path": str(unlabelled)},
            "point_clouds": {"num_points": NUM_POINTS, "rotation": "upright"},
            "budget": {"steps": steps} if steps else {"seconds": seconds},
            "training": {"batch_size": 8, "weight_decay": 0.05, "checkpoint_every": 3600.0},
        }
        pretrain(parse(raw, PretrainConfig, source="the demo"), out / name, progress)
    return compare(point_cloud_study(out, shapes, quick, steps), out, progress)


def point_cloud_study(out: Path, shapes: Path, quick: bool = False, steps: int | None = None) -> StudyConfig:
    """Return the study of the demo: the encoder from random weights and from each pretraining in `out`."""
    seeds = [0] if quick else [0, 1, 2]
    arms = {"scratch": {**ENCODER, "title": "random weights", "description": "The encoder trained from scratch."}}
    for name, title in (("point_mae", "after Point-MAE"), ("crosspoint", "after CrossPoint")):
        description = f"The same encoder, pretrained on {5 * UNLABELLED_PER_CLASS} shapes without labels."
        arms[name] = {**ENCODER, "title": title, "description": description, "init_from": str(out / name / "weights")}
    raw: dict[str, Any] = {
        "title": "Does pretraining help on these shapes?",
        "notes": list(_NOTES),
        "dataset": {"path": str(shapes)},
        "task": "classification",
        "point_clouds": {"num_points": NUM_POINTS, "rotation": "upright"},
        "split": {"num_test": NUM_TEST},
        "budget": {"steps": steps}
        if steps
        else {"seconds": round((QUICK_SECONDS if quick else SECONDS) / len(seeds), 1)},
        "training": {"batch_size": 8, "weight_decay": 0.05, "checkpoint_every": 3600.0},
        "arms": arms,
        "reference": "scratch",
        "baseline": False,
        "seeds": seeds,
    }
    return parse(raw, StudyConfig, source="the demo")
