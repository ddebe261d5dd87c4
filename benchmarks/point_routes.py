"""How 2D knowledge reaches a small network of points: every route at equal steps, on shapes and on aerial lidar.

    python benchmarks/point_routes.py DATA OUT
    python benchmarks/point_routes.py DATA OUT --neighbours 8,4,4 --routes random "Point-M2AE (no 2D)" \\
        --questions "furniture svm"

DATA holds sweethome3d_furniture/points2048.npz, dales_objects/dales_objects.npz and
dinov2_vits14_saliency/vits14_fp16.pth. Pretraining sees the furniture without labels. What is finished in OUT is not
run again; after --seconds nothing new is begun. The table goes to OUT/table.md. `hidden in leakage` is the share of what
is to be foreseen that stands in sight all the same, because patches overlap: few patches have to be small ones.
"""

import argparse
import json
import time
from itertools import product
from pathlib import Path

import numpy as np
import torch

from dimlift.config.method_config import TaskSpec
from dimlift.data.datasets.point_cloud_set import PointCloudSet, load_point_cloud_set
from dimlift.evaluation.point_probe import probe_points, resampled_interval
from dimlift.methods.registry import POINT_ENCODERS
from dimlift.records.record import load_records
from dimlift.records.weights import read_card, write_weights
from dimlift.studies.load_config import parse
from dimlift.studies.pretrain import pretrain
from dimlift.studies.pretrain_config import PretrainConfig

STEPS, FINE_TUNE_STEPS, BATCH, POINTS, SEEDS, REPEATS = 300, 40, 8, 256, (0, 1, 2), 5
ARM = {
    "method": "point_m2ae", "num_groups": [64, 32, 16], "group_sizes": [16, 8, 4], "widths": [48, 96, 192],
    "depths": [1, 1, 3], "heads": 6,
}  # fmt: skip
VIT = {"method": "point_vit", "network": "timm:vit_small_patch14_dinov2", "blocks": 3}
TEACHER = {"network": VIT["network"], "render_size": 56}
PRETRAINED = {
    "Point-M2AE (no 2D)": {"method": "point_mae", "mask_ratio": 0.8, "decoder_depth": 1},
    "I2P-MAE": {"method": "i2p_mae", **TEACHER},
    "Joint-MAE": {"method": "joint_mae", "render_size": 64},
}


def weights_of(route: str, seed: int, data: Path, out: Path, neighbours: list[int]) -> Path:
    """A weights folder of the route: pretrained, or as it starts."""
    arm = {**ARM, "group_sizes": neighbours}
    folder = out / f"{route.replace(' ', '_')}-{seed}"
    if route in PRETRAINED:
        way = dict(PRETRAINED[route])
        if "network" in way:
            way["weights"] = str(data / "dinov2_vits14_saliency" / "vits14_fp16.pth")
        config = {
            "pretraining": way,
            "arm": arm,
            "dataset": {"path": str(data / "sweethome3d_furniture" / "points2048.npz")},
            "point_clouds": {"num_points": POINTS},
            "budget": {"steps": STEPS},
            "training": {"batch_size": BATCH, "weight_decay": 0.05, "num_threads": 1, "device": "cpu"},
            "seed": seed,
        }
        pretrain(parse(config, PretrainConfig), folder)
        return folder / "weights"
    options = arm if route == "random" else dict(VIT)
    if "lifted" in route:
        options["weights"] = str(data / "dinov2_vits14_saliency" / "vits14_fp16.pth")
    torch.manual_seed(seed)
    section = POINT_ENCODERS[options["method"]].model_validate(options)
    if not (folder / "weights").exists():
        network = section.build(TaskSpec("classification", 3, 0, None, (0, 0, 0), seed)).model
        write_weights(folder / "weights", network.state_dict(), {"task": "pretraining", "arm": options, "seconds": 0.0})
    return folder / "weights"


PROBES = [
    *(("svm", name, route) for name in ("furniture", "lidar") for route in ("random", *PRETRAINED)),
    *(("fine_tune", "furniture", route) for route in ("Simple3D-Former, scratch", "Simple3D-Former, lifted", "random")),
]
"""Which question is put to a route, on which set."""
COLUMNS = ["furniture svm", "lidar svm", "furniture fine_tune"]


def measure(options: argparse.Namespace) -> dict[str, dict[str, list[list[float]]]]:
    """Accuracies by route and question, for each seed those of its repeats; none is begun after `options.seconds`."""
    data, out = options.data, options.out
    neighbours = [int(text) for text in options.neighbours.split(",")]
    sets: dict[str, PointCloudSet] = {
        "furniture": load_point_cloud_set(data / "sweethome3d_furniture" / "points2048.npz"),
        "lidar": load_point_cloud_set(data / "dales_objects" / "dales_objects.npz"),
    }
    found: dict[str, dict[str, list[list[float]]]] = {}
    began = time.perf_counter()
    for group in (("svm", "furniture"), ("svm", "lidar"), ("fine_tune", "furniture")):
        wanted = [each for each in PROBES if each[:2] == group and f"{each[1]} {each[0]}" in options.probes]
        for seed, (protocol, name, route) in product(SEEDS, [each for each in wanted if each[2] in options.routes]):
            file = out / "answers" / f"{route}-{seed}-{name}-{protocol}.json".replace(" ", "_")
            if not file.exists():
                if time.perf_counter() - began > options.seconds:
                    continue
                started = time.perf_counter()
                weights = weights_of(route, seed, data, out, neighbours)
                # every route of a seed is asked on the same draws
                result = probe_points(
                    weights, sets[name], protocol, repeats=REPEATS if protocol == "svm" else 1,
                    points=POINTS, steps=FINE_TUNE_STEPS, control=False, seed=seed,
                )  # fmt: skip
                file.parent.mkdir(parents=True, exist_ok=True)
                cost = read_card(weights).get("seconds", 0.0)
                leakage = [r.extra.get("leakage") for r in load_records(weights.parent / "records")]
                content = {"values": result.values, "share": result.share, "seconds": cost, "sight": leakage}
                file.write_text(json.dumps(content))
                took = time.perf_counter() - started
                print(f"{route}, seed {seed}, {name}, {protocol}: {result.mean:.3f} ({took:.0f} s)", flush=True)
            content = json.loads(file.read_text())
            found.setdefault(route, {}).setdefault(f"{name} {protocol}", []).append(content["values"])
            found[route].setdefault("seconds", []).append([content["seconds"]])
            found[route].setdefault("sight", []).append([each for each in content.get("sight", []) if each is not None])
    return found


def table(found: dict[str, dict[str, list[list[float]]]]) -> str:
    """Means with 95 % intervals over seeds (how many in brackets; each its own weights and draws), as Markdown."""
    lines = ["| route | " + " | ".join(COLUMNS) + " | hidden in sight | pretraining, s |", "| --- |" + " ---: |" * 5]
    for route, results in found.items():
        cells = []
        for column in COLUMNS:
            means = [float(np.mean(v)) for v in results.get(column, [])]
            interval = resampled_interval(means, 0.0)
            reach = f" ± {100 * (interval[1] - interval[0]) / 2:.1f}" if interval else ""
            cells.append(f"{100 * np.mean(means):.1f}{reach} ({len(means)})" if means else "")
        leakages = [value for values in results["sight"] for value in values]
        cells += [f"{100 * np.mean(leakages):.0f} %" if leakages else "", f"{np.mean(results['seconds']):.0f}"]
        lines.append(f"| {route} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--neighbours", default="16,8,4", help="of the patches of each level, finest first")
    parser.add_argument("--routes", nargs="+", default=[route for _, _, route in PROBES])
    parser.add_argument("--questions", nargs="+", default=COLUMNS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    text = table(measure(options))
    (options.out / "table.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
