"""Input files of all commands of the fault matrix, as small as can be; built once and copied for every cell."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml

from small_frames import write_recording
from small_runs import train_raw, write_case

CLASSES = {"background": 0, "bright": 1, "dim": 2}
POINT_MAE = {
    "pretraining": {"method": "point_mae", "decoder_depth": 1},
    "arm": {
        "method": "point_transformer", "num_groups": 8, "group_size": 8, "width": 24, "depth": 1, "heads": 2,
    },
    "dataset": {"path": "shapes.npz"},
    "point_clouds": {"num_points": 64},
    "budget": {"steps": 2},
    "training": {"batch_size": 2, "num_threads": 1, "device": "cpu"},
}  # fmt: skip


def write_inputs(root: Path) -> None:
    """Write everything that no command of dimlift writes."""
    for number in range(6):
        write_case(root / "data", f"case_{number}", number)
    dataset = {"channel_names": {"0": "MR"}, "labels": CLASSES, "numTraining": 6, "file_ending": ".nii.gz"}
    (root / "data" / "dataset.json").write_text(json.dumps(dataset))
    shutil.copyfile(root / "data" / "images" / "case_0.nii.gz", root / "scan.nii.gz")
    for number in (20, 21):
        write_case(root / "pool", f"more_{number}", number)
    shutil.rmtree(root / "pool" / "labels")
    raw = train_raw(Path("data"), budget={"steps": 3})
    raw["training"] |= {"checkpoint_every": 1e-9}
    study = {key: value for key, value in raw.items() if key != "arm"}
    study |= {"arms": {"one": raw["arm"], "two": {**raw["arm"], "widths": [6, 8]}}, "seeds": [0], "split": {"folds": 3}}
    stages = {key: value for key, value in raw.items() if key in ("arm", "budget", "training")}
    stages |= {"labelled": {"path": "data"}, "unlabelled": {"path": "pool"}, "stages": ["segmentation", "segmia"]}
    stages |= {"folds": 2, "num_rounds": 1, "finetune": {"steps": 1}}
    contents = {"train": raw, "study": study, "self_train": stages, "pretrain": POINT_MAE}
    for name, content in contents.items():
        (root / f"{name}.yaml").write_text(yaml.safe_dump(content))
    points = np.random.default_rng(0).normal(size=(6, 90, 3)).astype(np.float32)
    np.savez_compressed(root / "shapes.npz", points=points, labels=np.arange(6) % 2, classes=np.array(["a", "b"]))
    with (root / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(
            [["name", "label", "group"], *([f"case_{n}", "ab"[n % 2], f"p{n}"] for n in range(6))]
        )
    write_recording(root / "room")
    _write_scan(root)
    _write_network(root / "resnet.safetensors")


def _write_scan(root: Path) -> None:
    from dimlift.data.io.point_cloud_writer import write_ply
    from dimlift.data.rgbd.frames import read_frame
    from dimlift.data.rgbd.recordings import find_frames
    from dimlift.geometry.cameras import back_project

    frame = read_frame(find_frames(root / "room")[1])
    points, pixels = back_project(frame.depth.double(), frame.depth_camera)
    write_ply(root / "scan.ply", points.numpy(), frame.image.flatten(1).T[pixels].numpy())


def _write_network(path: Path) -> None:
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet").state_dict(), path)


PREPARATIONS: dict[str, tuple[tuple[str, ...], ...]] = {
    "run": (("train", "train.yaml", "--out", "run"),),
    "study": (("compare", "study.yaml", "--out", "study"),),
    "emb.npz": (
        (
            "embed",
            "data",
            "--planes",
            "1",
            "--network",
            "timm:test_resnet",
            "--weights",
            "resnet.safetensors",
            "--out",
            "emb.npz",
        ),
    ),
    "hub_cache": (
        ("push", "run", "me/blocks", "--licence", "cc-by-4.0"),
        ("pull", "me/blocks", "--download", "--out", "weights"),
    ),
}
"""Commands that write further inputs, by what they write."""


def prepare(root: Path, names: tuple[str, ...], execute: Callable[[tuple[str, ...]], None]) -> None:
    """Run the commands that write these inputs, unless they exist."""
    for name in names:
        if not (root / name).exists():
            for words in PREPARATIONS[name]:
                execute(words)
