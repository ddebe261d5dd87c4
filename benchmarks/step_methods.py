"""The methods that benchmarks/steps.py times, each with data made up for it."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from PIL import Image
from safetensors.torch import save_file

from dimlift.backbones.open_network import open_network
from dimlift.data.synthetic.shapes import simulate_shapes
from dimlift.records.record import write_json

DEIT = {"network": "timm:deit_tiny_patch16_224", "pretrained": False}
HIERARCHY = {"method": "point_hierarchy", "patches": [128, 64, 16], "neighbours": [16, 8, 4], "widths": [48, 96, 192],
             "depths": [1, 1, 2]}  # fmt: skip
TEACHER = {"network": "packaged:efficientnet_lite0", "view_size": 96}
FRAMES = {"network": "packaged:efficientnet_lite0", "share": 0.25, "depth": 18, "voxel": 0.05}
DISTINIT = {"method": "distinit", "teachers": [{"network": "packaged:efficientnet_lite0"}]}
STAGED = {"student": {"method": "convnext3d", "network": "timm:convnext_atto"}, "baseline": False, "folds": 2}
BORROW = {"network": "packaged:efficientnet_lite0", "planes": ["depth", "height", "width"]}

METHODS: dict[str, dict[str, Any]] = {
    "unet": {"arm": {"method": "unet"}},
    "nnunet": {"arm": {"method": "nnunet"}},
    "borrowed": {"arm": {"method": "borrowed", **BORROW, "components": 48}},
    "slices": {"arm": {"method": "slices"}},
    "lifted": {"arm": {"method": "lifted"}},
    "convnext3d": {"arm": {"method": "convnext3d", "network": "timm:convnext_atto", "pretrained": False}},
    "transseg": {"arm": {"method": "transseg"}},
    "retrospect": {"arm": {"method": "retrospect", "photos": "PHOTOS", "held_out": 2}},
    "medical_transformer": {"arm": {"method": "medical_transformer"}},
    "resnet (volumes)": {"task": "classification", "arm": {"method": "resnet"}},
    "lifted (volumes)": {"task": "classification", "arm": {"method": "lifted"}},
    "slice_classifier (frozen)": {"task": "classification", "arm": {"method": "slice_classifier"}},
    "slice_classifier (LoRA)": {
        "task": "classification",
        "arm": {"method": "slice_classifier", "tune": "lora", "pooling": "transformer"},
    },
    "simple3d": {"task": "classification", "arm": {"method": "simple3d", **DEIT, "cell": [8, 8, 8]}},
    "simple3d_retrospect": {
        "task": "classification",
        "arm": {
            "method": "simple3d_retrospect",
            "network": DEIT["network"],
            "weights": "WEIGHTS",
            "cell": [8, 8, 8],
            "photos": "PHOTOS",
            "held_out": 2,
        },
    },
    "tubevit": {
        "task": "classification",
        "arm": {"method": "tubevit", **DEIT, "tubes": "core", "pictures": "PHOTOS", "picture_classes": 2},
    },
    "pretrain slice_distillation": {
        "pretraining": {"method": "slice_distillation", **BORROW, "components": 32},
        "student": {"method": "unet"},
    },
    "pretrain distinit": {"pretraining": DISTINIT, "student": {"method": "lifted"}},
    "pretrain medical_transformer": {
        "pretraining": {"method": "medical_transformer"},
        "student": {"method": "medical_transformer"},
    },
    "pretrain vdt": {"pretraining": {"method": "vdt"}, "student": {"method": "lifted"}, "pictures": {"size": 160}},
    "pretrain ppkt": {"pretraining": {"method": "ppkt", **FRAMES}},
    "pretrain soft_labels": {"pretraining": {"method": "soft_labels", **FRAMES}},
    "pretrain point_mae": {
        "pretraining": {"method": "point_mae"},
        "student": {"method": "point_transformer", "width": 192, "depth": 6},
    },
    "pretrain i2p_mae": {"pretraining": {"method": "i2p_mae", **DEIT, "view_size": 96}, "student": HIERARCHY},
    "pretrain joint_mae": {"pretraining": {"method": "joint_mae", "view_size": 96}, "student": HIERARCHY},
    "pretrain crosspoint": {"pretraining": {"method": "crosspoint", **TEACHER}, "student": HIERARCHY},
    "stages segmentation": {"stages": ["segmentation"], **STAGED},
    "stages multitask": {"stages": ["segmentation", "multitask"], **STAGED},
}


@dataclass(frozen=True)
class Material:
    """Generated data: volumes with masks, the same in a table with classes, photographs, clouds, RGB-D frames."""

    folder: Path
    patch: tuple[int, int, int]
    points: int
    stride: int


def configuration(name: str, material: Material, steps: int) -> dict[str, Any]:
    """A run of a method, as it would stand in a file."""
    home, method = material.folder, METHODS[name]
    raw: dict[str, Any] = {**method, "budget": {"steps": steps}}
    raw["training"] = {"batch_size": 2, "threads": 1, "device": "cpu", "checkpoint_every": 3600.0}
    if "arm" in method:
        places = {"PHOTOS": home / "photos", "WEIGHTS": home / "weights.safetensors"}
        arm = {key: str(places[value]) if str(value) in places else value for key, value in method["arm"].items()}
        if "weights" in arm:
            save_file(open_network(DEIT["network"], pretrained=False)[0].state_dict(), arm["weights"])
        classifying = method.get("task") == "classification"
        raw |= {"arm": arm, "dataset": {"path": str(home / "table.csv" if classifying else home)}, "fold": None}
    elif "stages" in method:
        raw |= {part: {"path": str(home / f"{part}.csv")} for part in ("labelled", "classified")} | {"rounds": 1}
    elif "point" in str(method.get("student")):
        raw["clouds"] = {"path": str(home / "clouds.npz"), "points": material.points}
        raw["training"]["batch_size"] = 8
    elif "student" not in method:
        raw["frames"] = {"path": str(home / "room"), "pairs": 2048, "stride": material.stride}
    elif "pictures" in method:
        raw["pictures"] = {**method["pictures"], "path": str(home / "photos")}
        raw["training"]["batch_size"] = 8
    else:
        raw["volumes"] = {"path": str(home), "layout": "folders"}
    if "clouds" not in raw and "frames" not in raw and "pictures" not in raw:
        raw["training"]["patch_size"] = list(material.patch)
    return raw


def generate(folder: Path, scale: int = 0) -> Material:
    """Write what the methods learn from.

    Args:
        scale: 0 for the sizes that are timed; 1 for small ones, 2 for the same with four times the voxels, points and
            pixels (depth as before: a loop over the slices of a volume is allowed).
    """
    rng = np.random.default_rng(0)
    depth, side = {0: (48, 56), 1: (16, 32), 2: (16, 64)}[scale]
    rows: list[list[Any]] = []
    for kind in ("images", "labels", "halves"):
        (folder / kind).mkdir(parents=True)
    for number in range(4):
        image = rng.normal(0, 1, (side, side, depth)).astype(np.float32)
        image[side // 4 : side // 2, side // 4 : side // 2, depth // 4 : depth // 2] += 3
        halves = (image > 0).astype(np.uint8)  # a network of few steps finds both, so that it can teach
        for kind, array in (("images", image), ("labels", (image > 2).astype(np.uint8)), ("halves", halves)):
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / kind / f"case_{number}.nii.gz")
        rows.append([f"images/case_{number}.nii.gz", "even" if number % 2 else "odd", f"case_{number}"])
    masks = [[image, image.replace("images", "halves"), case] for image, _, case in rows]
    for table, chosen in (("table", rows), ("labelled", masks[:2]), ("classified", rows[2:])):
        with (folder / f"{table}.csv").open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([["image", "label", "group"], *chosen])
    picture = {0: (375, 500), 1: (192, 256), 2: (384, 512)}[scale]
    for number in range(8):
        place = folder / "photos" / ("cat" if number % 2 else "dog")
        place.mkdir(parents=True, exist_ok=True)
        photograph(rng, picture).save(place / f"{number}.jpg", quality=90)
    simulate_shapes(folder / "clouds.npz", 4, {0: 1024, 1: 256, 2: 1024}[scale])
    write_room(folder / "room", rng, {0: (480, 640), 1: (120, 160), 2: (240, 320)}[scale])
    return Material(folder, (depth, side, side), {0: 1024, 1: 256, 2: 1024}[scale], 4)


def photograph(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Soft blobs of colour, which a JPEG file holds in as many bytes as a photograph."""
    coarse = Image.fromarray(rng.integers(0, 255, (size[0] // 16, size[1] // 16, 3), np.uint8))
    smooth = np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC), np.int16)
    return Image.fromarray((smooth + rng.integers(-12, 12, smooth.shape)).clip(0, 255).astype(np.uint8))


def write_room(folder: Path, rng: np.random.Generator, size: tuple[int, int], frames: int = 4) -> None:
    """RGB-D frames of a wall 2 m away with a box before it, taken while the camera moves."""
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
        photograph(rng, size).save(stem.with_suffix(".color.png"))
        Image.fromarray(depth.astype(np.uint16)).save(stem.with_suffix(".depth.png"))
        pose = np.eye(4)
        pose[0, 3] = 0.05 * number
        np.savetxt(stem.with_suffix(".pose.txt"), pose)
