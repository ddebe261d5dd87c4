"""The methods that benchmarks/steps.py times, and their generated data."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from PIL import Image
from safetensors.torch import save_file

from dimlift.backbones.factory import create_backbone
from dimlift.data.synthetic.shapes import simulate_shapes
from dimlift.records.record import write_json

DEIT = {"network": "timm:deit_tiny_patch16_224", "pretrained": False}
M2AE = {"method": "point_m2ae", "num_groups": [128, 64, 16], "group_sizes": [16, 8, 4], "widths": [48, 96, 192],
             "depths": [1, 1, 2]}  # fmt: skip
TEACHER = {"network": "packaged:efficientnet_lite0", "render_size": 96}
FRAMES = {"network": "packaged:efficientnet_lite0", "width_multiplier": 0.25, "depth": 18, "voxel_size": 0.05}
DISTINIT = {"method": "distinit", "teachers": [{"network": "packaged:efficientnet_lite0"}]}
SELF_TRAINING = {"arm": {"method": "convnext3d", "network": "timm:convnext_atto"}, "baseline": False, "folds": 2}
FEATURES = {"network": "packaged:efficientnet_lite0", "planes": ["depth", "height", "width"]}

METHODS: dict[str, dict[str, Any]] = {
    "unet": {"arm": {"method": "unet"}},
    "nnunet": {"arm": {"method": "nnunet"}},
    "frozen_features": {"arm": {"method": "frozen_features", **FEATURES, "num_components": 48}},
    "slicewise": {"arm": {"method": "slicewise"}},
    "lifted": {"arm": {"method": "lifted"}},
    "convnext3d": {"arm": {"method": "convnext3d", "network": "timm:convnext_atto", "pretrained": False}},
    "transseg": {"arm": {"method": "transseg"}},
    "image_replay": {"arm": {"method": "image_replay", "image_dir": "IMAGES", "num_val_images": 2}},
    "medical_transformer": {"arm": {"method": "medical_transformer"}},
    "resnet (volumes)": {"task": "classification", "arm": {"method": "resnet"}},
    "lifted (volumes)": {"task": "classification", "arm": {"method": "lifted"}},
    "slice_classifier (frozen)": {"task": "classification", "arm": {"method": "slice_classifier"}},
    "slice_classifier (LoRA)": {
        "task": "classification",
        "arm": {"method": "slice_classifier", "tune": "lora", "pooling": "transformer"},
    },
    "simple3d": {"task": "classification", "arm": {"method": "simple3d", **DEIT, "patch_size": [8, 8, 8]}},
    "simple3d_image_replay": {
        "task": "classification",
        "arm": {
            "method": "simple3d_image_replay",
            "network": DEIT["network"],
            "weights": "WEIGHTS",
            "patch_size": [8, 8, 8],
            "image_dir": "IMAGES",
            "num_val_images": 2,
        },
    },
    "tubevit": {
        "task": "classification",
        "arm": {"method": "tubevit", **DEIT, "tubes": "core", "image_dir": "IMAGES", "num_image_classes": 2},
    },
    "pretrain slice_distillation": {
        "pretraining": {"method": "slice_distillation", **FEATURES, "num_components": 32},
        "arm": {"method": "unet"},
    },
    "pretrain distinit": {"pretraining": DISTINIT, "arm": {"method": "lifted"}},
    "pretrain medical_transformer": {
        "pretraining": {"method": "medical_transformer"},
        "arm": {"method": "medical_transformer"},
    },
    "pretrain vdt": {"pretraining": {"method": "vdt"}, "arm": {"method": "lifted"}, "images": {"size": 160}},
    "pretrain ppkt": {"pretraining": {"method": "ppkt", **FRAMES}},
    "pretrain soft_labels": {"pretraining": {"method": "soft_labels", **FRAMES}},
    "pretrain point_mae": {
        "pretraining": {"method": "point_mae"},
        "arm": {"method": "point_transformer", "width": 192, "depth": 6},
    },
    "pretrain i2p_mae": {"pretraining": {"method": "i2p_mae", **DEIT, "render_size": 96}, "arm": M2AE},
    "pretrain joint_mae": {"pretraining": {"method": "joint_mae", "render_size": 96}, "arm": M2AE},
    "pretrain crosspoint": {"pretraining": {"method": "crosspoint", **TEACHER}, "arm": M2AE},
    "self-train segmentation": {"stages": ["segmentation"], **SELF_TRAINING},
    "self-train multitask": {"stages": ["segmentation", "multitask"], **SELF_TRAINING},
}


@dataclass(frozen=True)
class BenchmarkData:
    """Generated data: volumes with masks, a table of them with classes, images, point clouds and RGB-D frames."""

    folder: Path
    patch: tuple[int, int, int]
    points: int
    stride: int


def run_options(name: str, data: BenchmarkData, steps: int) -> dict[str, Any]:
    """Return the configuration of a run of a method."""
    folder, method = data.folder, METHODS[name]
    raw: dict[str, Any] = {**method, "budget": {"steps": steps}}
    raw["training"] = {"batch_size": 2, "num_threads": 1, "device": "cpu", "checkpoint_every": 3600.0}
    if "stages" in method:
        raw |= {part: {"path": str(folder / f"{part}.csv")} for part in ("labelled", "classification")} | {
            "num_rounds": 1
        }
    elif "pretraining" not in method:
        paths = {"IMAGES": folder / "jpegs", "WEIGHTS": folder / "weights.safetensors"}
        arm = {key: str(paths[value]) if str(value) in paths else value for key, value in method["arm"].items()}
        if "weights" in arm:
            save_file(create_backbone(DEIT["network"], pretrained=False)[0].state_dict(), arm["weights"])
        is_classification = method.get("task") == "classification"
        raw |= {
            "arm": arm,
            "dataset": {"path": str(folder / "table.csv" if is_classification else folder)},
            "fold": None,
        }
    elif "point" in str(method.get("arm")):
        raw["dataset"] = {"path": str(folder / "point_clouds.npz")}
        raw["point_clouds"] = {"num_points": data.points}
        raw["training"]["batch_size"] = 8
    elif "arm" not in method:
        raw["frames"] = {"path": str(folder / "room"), "num_pairs": 2048, "stride": data.stride}
    elif "images" in method:
        raw["images"] = {**method["images"], "path": str(folder / "jpegs")}
        raw["training"]["batch_size"] = 8
    else:
        raw["dataset"] = {"path": str(folder), "layout": "folders"}
    if not {"point_clouds", "frames", "images"} & set(raw):
        raw["training"]["patch_size"] = list(data.patch)
    return raw


def generate(folder: Path, scale: int = 0) -> BenchmarkData:
    """Write the training data of all methods.

    Args:
        scale: 0 for the timed sizes; 1 for small data, 2 for four times the voxels, points and pixels of 1 at the same
            depth, because a loop over slices is allowed.
    """
    rng = np.random.default_rng(0)
    depth, side = {0: (48, 56), 1: (16, 32), 2: (16, 64)}[scale]
    rows: list[list[Any]] = []
    for kind in ("images", "labels", "halves"):
        (folder / kind).mkdir(parents=True)
    for number in range(4):
        image = rng.normal(0, 1, (side, side, depth)).astype(np.float32)
        image[side // 4 : side // 2, side // 4 : side // 2, depth // 4 : depth // 2] += 3
        halves = (image > 0).astype(np.uint8)  # a network finds both after few steps, so that it can serve as teacher
        for kind, array in (("images", image), ("labels", (image > 2).astype(np.uint8)), ("halves", halves)):
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / kind / f"case_{number}.nii.gz")
        rows.append([f"images/case_{number}.nii.gz", "even" if number % 2 else "odd", f"case_{number}"])
    masks = [[image, image.replace("images", "halves"), case] for image, _, case in rows]
    for table, chosen in (("table", rows), ("labelled", masks[:2]), ("classification", rows[2:])):
        with (folder / f"{table}.csv").open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([["image", "label", "group"], *chosen])
    image_size = {0: (375, 500), 1: (192, 256), 2: (384, 512)}[scale]
    for number in range(8):
        path = folder / "jpegs" / ("cat" if number % 2 else "dog")
        path.mkdir(parents=True, exist_ok=True)
        random_image(rng, image_size).save(path / f"{number}.jpg", quality=90)
    simulate_shapes(folder / "point_clouds.npz", 4, {0: 1024, 1: 256, 2: 1024}[scale])
    write_room(folder / "room", rng, {0: (480, 640), 1: (120, 160), 2: (240, 320)}[scale])
    return BenchmarkData(folder, (depth, side, side), {0: 1024, 1: 256, 2: 1024}[scale], 4)


def random_image(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Return smooth random colours, whose JPEG file is as large as that of a natural image."""
    coarse = Image.fromarray(rng.integers(0, 255, (size[0] // 16, size[1] // 16, 3), np.uint8))
    smooth = np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC), np.int16)
    return Image.fromarray((smooth + rng.integers(-12, 12, smooth.shape)).clip(0, 255).astype(np.uint8))


def write_room(folder: Path, rng: np.random.Generator, size: tuple[int, int], frames: int = 4) -> None:
    """Write RGB-D frames of a wall at 2 m with a box in front of it, from a moving camera."""
    folder.mkdir(parents=True)
    height, width = size
    focal = 0.9 * width
    camera = {"fx": focal, "fy": focal, "cx": width / 2, "cy": height / 2}
    write_json(folder / "cameras.json", {"depth": camera, "colour": None, "values_per_metre": 1000})
    rows, columns = np.mgrid[0:height, 0:width]
    for number in range(frames):
        depth = 2000 + 100 * np.sin(columns / width * 6)
        depth[(abs(rows - height / 2) < height / 6) & (abs(columns - width / 2 + 20 * number) < width / 8)] = 1000
        stem = folder / f"frame-{number:06d}"
        random_image(rng, size).save(stem.with_suffix(".color.png"))
        Image.fromarray(depth.astype(np.uint16)).save(stem.with_suffix(".depth.png"))
        pose = np.eye(4)
        pose[0, 3] = 0.05 * number
        np.savetxt(stem.with_suffix(".pose.txt"), pose)
