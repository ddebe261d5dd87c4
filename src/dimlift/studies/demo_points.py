"""The demo on clouds: shapes made of boxes, two ways of learning from them without labels, and what was learnt."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimlift.errors import RunError
from dimlift.progress import Event, Progress, silent
from dimlift.records.record import write_json
from dimlift.studies.load_config import parse
from dimlift.studies.pretrain import pretrain
from dimlift.studies.pretrain_config import PretrainConfig

STUDENT = {
    "method": "point_hierarchy", "patches": [128, 64, 16], "neighbours": [16, 8, 4], "widths": [48, 96, 192],
    "depths": [1, 1, 2], "heads": 6,
}  # fmt: skip
WAYS: dict[str, dict[str, Any]] = {
    "masked points, no 2D": {"method": "point_mae", "masked": 0.8, "blocks": 1},
    "contrast with an ImageNet network": {
        "method": "crosspoint", "network": "packaged:efficientnet_lite0", "view_size": 96,
    },
}  # fmt: skip
SECONDS, QUICK_SECONDS = 40.0, 10.0
"""Training time of each way."""
POINTS = 512


def demo_points(out: Path | str, quick: bool = False, progress: Progress = silent, steps: int | None = None) -> Path:
    """Make shapes, learn from them in two ways at equal time, and probe both beside random weights.

    Leaves in `out`: shapes.npz, a folder for each way, points.json (accuracies) and points.npz (some clouds, coloured
    by what the networks make of their points); `report.clouds.write_clouds_page` makes the page of them.

    Args:
        out: must be new or empty.
        quick: a quarter of the training time.
        steps: train so many steps instead of seconds.

    Raises:
        RunError: if the folder holds anything.
    """
    from dimlift.data.datasets.point_cloud_set import open_clouds
    from dimlift.data.sampling.point_cloud_sampler import CloudSampler
    from dimlift.data.synthetic.shapes import simulate_shapes
    from dimlift.evaluation.point_probe import build, probe_points

    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} already holds something and the demo starts afresh; delete it or choose another folder")
    learnt = simulate_shapes(out / "unlabelled.npz", 40, seed=1)
    clouds = open_clouds(simulate_shapes(out / "shapes.npz", 12))
    each = len(clouds) // len(clouds.classes)
    shown = CloudSampler(clouds, POINTS, augment=False).whole(range(0, len(clouds), each)).points
    rows: list[dict[str, Any]] = []
    control: tuple[float, ...] | None = None
    colours = {"random weights": colours_of(build(STUDENT, 0, None, 0).model.encoder, shown)}
    for name, way in WAYS.items():
        budget = {"steps": steps} if steps else {"seconds": QUICK_SECONDS if quick else SECONDS}
        config = {
            "pretraining": way,
            "student": STUDENT,
            "clouds": {"path": str(learnt), "points": POINTS, "turn": "upright"},
            "budget": budget,
            "training": {"batch_size": 8, "weight_decay": 0.05, "checkpoint_every": 3600.0},
        }
        folder = out / way["method"]
        record = pretrain(parse(config, PretrainConfig, source="the demo"), folder, progress)
        progress(Event("predict", name, message=f"asking what {name} taught"))
        answer = probe_points(
            folder / "weights", clouds, "svm", repeats=5, points=POINTS, test_share=0.5, control=control is None
        )
        if control is None:  # the same random weights and draws for every way: asked once
            control = answer.control
            accuracy, interval = answer.control_mean()
            rows.append({"name": "random weights", "accuracy": accuracy, "interval": interval, "steps": 0})
        answer = replace(answer, control=control)
        gain, reach = answer.gain()
        rows.append(
            {
                "name": name, "accuracy": answer.mean, "interval": answer.interval(), "gain": gain,
                "gain_interval": reach, "steps": record.steps, "seconds": record.seconds,
            }
        )  # fmt: skip
        colours[name] = colours_of(build(STUDENT, 0, folder / "weights", 0).model.encoder, shown)
    np.savez_compressed(out / "points.npz", points=shown.numpy(), colours=np.stack(list(colours.values())))
    content = {"rows": rows, "columns": list(colours), "classes": list(clouds.classes), "clouds": len(clouds)}
    write_json(out / "points.json", content)
    return out


def colours_of(encoder: Any, points: Any) -> NDArray[np.float32]:
    """Red, green and blue of every point: the three leading components of the tokens around it, over all clouds."""
    import torch

    from dimlift.geometry.neighbours import interpolate

    with torch.no_grad():
        tokens = encoder.eval()(points)
        values = interpolate(points, tokens.centres, tokens.values)
    flat = values.flatten(0, 1) - values.flatten(0, 1).mean(0)
    axes = torch.linalg.svd(flat, full_matrices=False).Vh[:3]
    found = flat @ axes.T
    low, high = found.quantile(0.02, dim=0), found.quantile(0.98, dim=0)
    shades = ((found - low) / (high - low).clamp_min(1e-9)).clamp(0, 1)
    return shades.unflatten(0, values.shape[:2]).numpy()
