"""Pretraining methods for a small point encoder at equal steps, probed on shapes and on aerial lidar.

    python benchmarks/point_routes.py DATA OUT
    python benchmarks/point_routes.py DATA OUT --routes random "random, torch init" "random, one level" \\
        "random, one level, torch init" "Point-MAE (no 2D)" "Point-M2AE (no 2D)" --probes "furniture svm" "lidar svm"

DATA contains sweethome3d_furniture/points2048.npz, dales_objects/dales_objects.npz and
dinov2_vits14_saliency/vits14_fp16.pth. Pretraining uses the furniture without labels. Finished results in OUT are
reused; after --seconds no new result is started. The table is written to OUT/table.md. `leakage` is the fraction of
masked points that are visible in other patches, because patches overlap. `loss / blind` is the reconstruction loss of
the last batches, divided by that of a predictor that knows only the centre of a masked patch.
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
from dimlift.evaluation.probe import estimate_bn_statistics, probe_weights
from dimlift.evaluation.probe_protocols import Protocol, resampled_interval
from dimlift.methods.registry import POINT_ENCODERS
from dimlift.records.record import load_records
from dimlift.records.weights import read_card, write_weights
from dimlift.studies.load_config import parse
from dimlift.studies.pretrain import pretrain
from dimlift.studies.pretrain_config import PretrainConfig

FINE_TUNE_STEPS, POINTS, SEEDS, REPEATS = 40, 256, (0, 1, 2), 5
ARM = {
    "method": "point_m2ae", "num_groups": [64, 32, 16], "group_sizes": [16, 8, 4], "widths": [48, 96, 192],
    "depths": [1, 1, 3], "heads": 6,
}  # fmt: skip
ONE_LEVEL = {"method": "point_transformer", "num_groups": 32, "group_size": 16, "width": 192, "depth": 4, "heads": 6}
VIT = {"method": "point_vit", "network": "timm:vit_small_patch14_dinov2", "blocks": 3}
TEACHER = {"network": VIT["network"], "render_size": 56}
RANDOM = ("random", "random, torch init", "random, one level", "random, one level, torch init")
"""Untrained networks: with the initialisation that pretraining starts from, and with that of torch's layers."""
PRETRAINED = {
    "Point-MAE (no 2D)": {"method": "point_mae", "mask_ratio": 0.6, "decoder_depth": 2},
    "Point-M2AE (no 2D)": {"method": "point_mae", "mask_ratio": 0.8, "decoder_depth": 1},
    "I2P-MAE": {"method": "i2p_mae", **TEACHER},
    "Joint-MAE": {"method": "joint_mae", "render_size": 64},
}


def weights_of(route: str, seed: int, data: Path, out: Path, steps: int, batch: int, group_sizes: list[int]) -> Path:
    """Return the weights folder of a route, pretrained or initialised."""
    arm = ONE_LEVEL if route == "Point-MAE (no 2D)" or "one level" in route else {**ARM, "group_sizes": group_sizes}
    folder = out / f"{route.replace(' ', '_')}-{seed}"
    if route in PRETRAINED:
        pretraining = dict(PRETRAINED[route])
        if "network" in pretraining:
            pretraining["weights"] = str(data / "dinov2_vits14_saliency" / "vits14_fp16.pth")
        config = {
            "pretraining": pretraining,
            "arm": arm,
            "dataset": {"path": str(data / "sweethome3d_furniture" / "points2048.npz")},
            "point_clouds": {"num_points": POINTS},
            "budget": {"steps": steps},
            "training": {"batch_size": batch, "weight_decay": 0.05, "num_threads": 1, "device": "cpu"},
            "seed": seed,
        }
        pretrain(parse(config, PretrainConfig), folder)
        return folder / "weights"
    options = arm if route.startswith("random") else dict(VIT)
    if "lifted" in route:
        options["weights"] = str(data / "dinov2_vits14_saliency" / "vits14_fp16.pth")
    torch.manual_seed(seed)
    section = POINT_ENCODERS[options["method"]].model_validate(options)
    if not (folder / "weights").exists():
        network = section.build(TaskSpec("classification", 3, 0, None, (0, 0, 0), seed)).model
        if "torch init" in route:
            for part in network.modules():
                getattr(part, "reset_parameters", getattr(part, "_reset_parameters", int))()
        furniture = load_point_cloud_set(data / "sweethome3d_furniture" / "points2048.npz")
        estimate_bn_statistics(network.encoder, furniture, POINTS)
        write_weights(folder / "weights", network.state_dict(), {"task": "pretraining", "arm": options, "seconds": 0.0})
    return folder / "weights"


PROBES: list[tuple[Protocol, str, str]] = [
    *(("svm", name, route) for name in ("furniture", "lidar") for route in (*RANDOM, *PRETRAINED)),
    *(("fine_tune", "furniture", route) for route in ("Simple3D-Former, scratch", "Simple3D-Former, lifted", "random")),
]
"""Protocol, dataset and route of each probe."""
COLUMNS = ["furniture svm", "lidar svm", "furniture fine_tune"]


def measure(options: argparse.Namespace) -> dict[str, dict[str, list[list[float]]]]:
    """Return accuracies by route and probe, one list of repeats per seed; none is started after `options.seconds`."""
    data, out = options.data, options.out
    group_sizes = [int(text) for text in options.group_sizes.split(",")]
    sets: dict[str, PointCloudSet] = {
        "furniture": load_point_cloud_set(data / "sweethome3d_furniture" / "points2048.npz"),
        "lidar": load_point_cloud_set(data / "dales_objects" / "dales_objects.npz"),
    }
    found: dict[str, dict[str, list[list[float]]]] = {}
    start = time.perf_counter()
    for group in (("svm", "furniture"), ("svm", "lidar"), ("fine_tune", "furniture")):
        probes = [each for each in PROBES if each[:2] == group and f"{each[1]} {each[0]}" in options.probes]
        for seed, (protocol, name, route) in product(SEEDS, [each for each in probes if each[2] in options.routes]):
            file = out / "results" / f"{route}-{seed}-{name}-{protocol}.json".replace(" ", "_")
            if not file.exists():
                if time.perf_counter() - start > options.seconds:
                    continue
                started = time.perf_counter()
                weights = weights_of(route, seed, data, out, options.steps, options.batch, group_sizes)
                # all routes of a seed are probed on the same splits
                result = probe_weights(
                    weights, sets[name], protocol, repeats=REPEATS if protocol == "svm" else 1,
                    num_points=POINTS, steps=FINE_TUNE_STEPS, control=False, seed=seed,
                )  # fmt: skip
                file.parent.mkdir(parents=True, exist_ok=True)
                cost = read_card(weights).get("seconds", 0.0)
                facts = [record.extra for record in load_records(weights.parent / "records")]
                content = {
                    "values": result.values,
                    "seconds": cost,
                    "leakage": [each.get("leakage") for each in facts],
                    "of_blind": [e["reconstruction_loss"] / e["blind_loss"] for e in facts if "blind_loss" in e],
                }
                file.write_text(json.dumps(content))
                elapsed = time.perf_counter() - started
                print(f"{route}, seed {seed}, {name}, {protocol}: {result.mean:.3f} ({elapsed:.0f} s)", flush=True)
            content = json.loads(file.read_text())
            found.setdefault(route, {}).setdefault(f"{name} {protocol}", []).append(content["values"])
            found[route].setdefault("seconds", []).append([content["seconds"]])
            found[route].setdefault("leakage", []).append([each for each in content["leakage"] if each is not None])
            found[route].setdefault("of_blind", []).append(content["of_blind"])
    return found


def table(found: dict[str, dict[str, list[list[float]]]]) -> str:
    """Return means with 95 % intervals over seeds as a Markdown table; the number of seeds is in brackets."""
    lines = [
        "| route | " + " | ".join(COLUMNS) + " | leakage | loss / blind | pretraining, s |",
        "| --- |" + " ---: |" * 6,
    ]
    for route, results in found.items():
        cells = []
        for column in COLUMNS:
            means = [float(np.mean(v)) for v in results.get(column, [])]
            interval = resampled_interval(means, 0.0)
            half_width = f" ± {100 * (interval[1] - interval[0]) / 2:.1f}" if interval else ""
            cells.append(f"{100 * np.mean(means):.1f}{half_width} ({len(means)})" if means else "")
        leakages, ratios = ([value for values in results[key] for value in values] for key in ("leakage", "of_blind"))
        cells += [f"{100 * np.mean(leakages):.0f} %" if leakages else "", f"{np.mean(ratios):.2f}" if ratios else ""]
        cells.append(f"{np.mean(results['seconds']):.0f}")
        lines.append(f"| {route} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure the missing results and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the datasets and weights")
    parser.add_argument("out", type=Path, help="folder for weights, results and the table")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--steps", type=int, default=1000, help="of pretraining")
    parser.add_argument("--batch", type=int, default=32, help="point clouds of a batch")
    parser.add_argument("--group-sizes", default="16,8,4", help="points per patch of each level, finest first")
    parser.add_argument("--routes", nargs="+", default=[route for _, _, route in PROBES])
    parser.add_argument("--probes", nargs="+", default=COLUMNS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    text = table(measure(options))
    (options.out / "table.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
